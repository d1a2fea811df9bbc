"""Read-only views of the lake: catalogue, SQL, report and menu. No JVM."""
