"""The table of food orders, and its capture."""
