"""Programs that send events to Kafka from outside the lakehouse."""
