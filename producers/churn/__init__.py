"""Customers of a telephone company: generated, or from a file with the columns of IBM's."""
