"""Read-only: catalogue, report, SQL, terminal app. No JVM."""
