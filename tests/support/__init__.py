"""What tests of several files share: lakes and orders by hand, brokers as the audit asks them.

Test files import from here and from conftest, never from each other.
"""
