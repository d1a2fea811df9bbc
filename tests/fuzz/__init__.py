"""A fuzzer of events, valid, at the limits and nearly valid, against an oracle written apart.

The oracle (:mod:`tests.fuzz.oracle`, :mod:`tests.fuzz.changes`) reads with Python's own
json and Decimal; it imports neither the contract classes nor msgspec.
"""
