"""What mends and cares for tables."""
