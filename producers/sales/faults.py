"""Deliberately broken records: one function per fault, named as in the record's header."""

from __future__ import annotations

import json

from producers.faults import OF_ANY, Fault, Fields, altered, bad_utf8, without


def _nan(fields: Fields) -> bytes:
    return json.dumps({**fields, "unit_price": float("nan")}).encode()


FAULTS: dict[str, Fault] = {
    **OF_ANY,
    "bad_utf8": bad_utf8("country"),
    "missing_field": without("country"),
    "quantity_as_text": lambda fields: altered(quantity=str(fields["quantity"]))(fields),
    "quantity_zero": altered(quantity=0),
    "price_as_text": lambda fields: altered(unit_price=str(fields["unit_price"]))(fields),
    "price_negative": altered(unit_price=-1.5),
    "price_too_fine": altered(unit_price=1.234567),
    "price_nan": _nan,
    "unknown_segment": altered(segment="B2X"),
    "unknown_currency": altered(currency="XXX"),
    "several": altered(quantity="many", currency="??", order_id=""),
}
"""Fault → a function that makes a broken value from the fields of a good event."""
