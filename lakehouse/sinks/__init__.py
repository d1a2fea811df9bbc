"""The other followers of bronze."""
