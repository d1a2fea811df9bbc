"""Real Kafka, Postgres, Java and jars: found or fetched, and started locally when none is named."""
