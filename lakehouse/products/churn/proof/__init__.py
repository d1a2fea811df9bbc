"""The proof of churn: nothing of it writes, and all of it can be run on another machine."""
