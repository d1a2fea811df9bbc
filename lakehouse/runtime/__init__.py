"""Turns a declared flow into a running query."""
