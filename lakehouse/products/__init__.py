"""The registry of products, and one folder a product."""
