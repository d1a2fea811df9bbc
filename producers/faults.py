"""Ways to break a record on purpose that hold for any event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]
Fault = Callable[[Fields], bytes | None]
"""Makes a broken value from the fields of a good event."""


def altered(**changes: Any) -> Fault:
    """Some fields have other values."""

    def make(fields: Fields) -> bytes:
        return json.dumps({**fields, **changes}).encode()

    return make


def without(name: str) -> Fault:
    """A field is missing."""

    def make(fields: Fields) -> bytes:
        return json.dumps({k: v for k, v in fields.items() if k != name}).encode()

    return make


def bad_utf8(name: str) -> Fault:
    """A text begins with bytes that are no UTF-8."""

    def make(fields: Fields) -> bytes:
        place = json.dumps(name).encode() + b': "'
        return json.dumps(fields).encode().replace(place, place + b"\xff\xfe")

    return make


def _wrong_case(fields: Fields) -> bytes:
    renamed = {("Event_ID" if k == "event_id" else k): v for k, v in fields.items()}
    return json.dumps(renamed).encode()


def _truncated(fields: Fields) -> bytes:
    return json.dumps(fields).encode()[:-20]


def _no_offset(fields: Fields) -> bytes:
    return json.dumps({**fields, "event_time": fields["event_time"][:19]}).encode()


OF_ANY: dict[str, Fault] = {
    "broken_json": lambda _: b'{"event_id": oops',
    "truncated": _truncated,
    "empty_value": lambda _: b"",
    "tombstone": lambda _: None,
    "not_an_object": lambda fields: json.dumps([fields]).encode(),
    "wrong_case": _wrong_case,
    "time_without_offset": _no_offset,
    "time_in_future": altered(event_time="2096-01-01T00:00:00Z"),
    "time_too_early": altered(event_time="1970-01-01T00:00:00Z"),
}
"""Fault → what makes it, of any event that has an ``event_id`` and an ``event_time``."""
