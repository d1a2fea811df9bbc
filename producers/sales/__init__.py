"""Sales events."""
