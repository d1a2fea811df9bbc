"""The proof that nothing was lost, doubled or invented, from outside Spark."""
