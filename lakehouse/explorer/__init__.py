"""Read-only views of the lake: catalogue, SQL, report, the terminal app. No JVM."""
