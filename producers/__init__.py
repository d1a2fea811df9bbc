"""What talks to Kafka from outside."""
