"""What a person asks of churn's lake: some predictions, one customer's, whether all of it holds."""
