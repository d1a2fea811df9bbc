"""Events of users on pages: generated, or replayed from a file."""
