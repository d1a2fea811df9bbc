"""Rows become Delta commits."""
