"""The pages of ``lakehouse dashboard``: static files, and JSON of what one observer sees."""
