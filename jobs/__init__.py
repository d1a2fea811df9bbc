"""One spark-submit entry point a deployed process."""
