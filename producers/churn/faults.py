"""Deliberately broken records: one function per fault, named as in the record's header."""

from __future__ import annotations

from producers.faults import OF_ANY, Fault, altered, bad_utf8, without

FAULTS: dict[str, Fault] = {
    **OF_ANY,
    "bad_utf8": bad_utf8("PaymentMethod"),
    "missing_field": without("MonthlyCharges"),
    "no_customer": altered(customerID=""),
    "unknown_contract": altered(Contract="Three year"),
    "senior_as_text": altered(SeniorCitizen="No"),
    "negative_tenure": altered(tenure=-1),
    "charges_as_text": altered(TotalCharges="29.85"),
    "several": altered(tenure=None, Contract="???"),
}
"""Fault → a function that makes a broken value from the fields of a good event."""
