"""What is compared: programs that read one topic into a lake and print one JSON line."""
