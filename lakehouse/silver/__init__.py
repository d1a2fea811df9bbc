"""The follower that keeps the declared aggregates up to date."""
