"""Deliberately broken records: one function per fault, named as in the record's header."""

from __future__ import annotations

from producers.faults import OF_ANY, Fault, altered, bad_utf8, without

FAULTS: dict[str, Fault] = {
    **OF_ANY,
    "bad_utf8": bad_utf8("page_url"),
    "missing_field": without("page_url"),
    "empty_user": altered(user_id=""),
    "user_as_number": altered(user_id=42),
    "unknown_type": altered(event_type="scroll"),
    "several": altered(user_id=None, event_type="???"),
}
"""Fault → a function that makes a broken value from the fields of a good event."""
