"""The follower that keeps aggregates."""
