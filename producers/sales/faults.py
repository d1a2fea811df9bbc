"""Deliberately broken records: one function per fault, named as in the record's header."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]


def _set(**changes: Any) -> Callable[[Fields], bytes]:
    def make(fields: Fields) -> bytes:
        return json.dumps({**fields, **changes}).encode()

    return make


def _without(name: str) -> Callable[[Fields], bytes]:
    def make(fields: Fields) -> bytes:
        return json.dumps({k: v for k, v in fields.items() if k != name}).encode()

    return make


def _wrong_case(fields: Fields) -> bytes:
    renamed = {("Event_ID" if k == "event_id" else k): v for k, v in fields.items()}
    return json.dumps(renamed).encode()


def _truncated(fields: Fields) -> bytes:
    return json.dumps(fields).encode()[:-20]


def _bad_utf8(fields: Fields) -> bytes:
    return json.dumps(fields).encode().replace(b'"country": "', b'"country": "\xff\xfe')


def _nan(fields: Fields) -> bytes:
    return json.dumps({**fields, "unit_price": float("nan")}).encode()


def _no_offset(fields: Fields) -> bytes:
    return json.dumps({**fields, "event_time": fields["event_time"][:19]}).encode()


FAULTS: dict[str, Callable[[Fields], bytes | None]] = {
    "broken_json": lambda _: b'{"event_id": oops',
    "truncated": _truncated,
    "bad_utf8": _bad_utf8,
    "empty_value": lambda _: b"",
    "tombstone": lambda _: None,
    "not_an_object": lambda fields: json.dumps([fields]).encode(),
    "missing_field": _without("country"),
    "wrong_case": _wrong_case,
    "quantity_as_text": lambda fields: _set(quantity=str(fields["quantity"]))(fields),
    "quantity_zero": _set(quantity=0),
    "price_as_text": lambda fields: _set(unit_price=str(fields["unit_price"]))(fields),
    "price_negative": _set(unit_price=-1.5),
    "price_too_fine": _set(unit_price=1.234567),
    "price_nan": _nan,
    "unknown_segment": _set(segment="B2X"),
    "unknown_currency": _set(currency="XXX"),
    "time_without_offset": _no_offset,
    "time_in_future": _set(event_time="2096-01-01T00:00:00Z"),
    "time_too_early": _set(event_time="1970-01-01T00:00:00Z"),
    "several": _set(quantity="many", currency="??", order_id=""),
}
"""Fault → a function that makes a broken value from the fields of a good event."""
