"""A Delta table: commits and their metadata, fingerprints, health, increments."""
