"""A declared flow becomes a running query."""
