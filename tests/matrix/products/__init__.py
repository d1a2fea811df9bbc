"""What the matrix knows of one product alone: how its topic is fed, its own faults and checks."""
