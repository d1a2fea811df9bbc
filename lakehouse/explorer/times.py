"""Reads times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

from lakehouse.core.errors import UsageError


def time_of(option: str, text: str) -> datetime:
    """The time of an RFC 3339 text or a date, in UTC if it has no offset; UsageError otherwise."""
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UsageError(option, f"{text!r} is not a time", "write 2026-11-20T12:00:00Z") from None
