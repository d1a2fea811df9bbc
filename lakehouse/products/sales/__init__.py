"""Sales of a shop."""
