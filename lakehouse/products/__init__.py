"""Meaning: what each product's tables are. Declared and pure."""
