"""Food orders' table, and its capture."""
