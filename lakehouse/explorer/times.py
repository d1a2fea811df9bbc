"""Times as a person writes them."""

from __future__ import annotations

from datetime import UTC, datetime

from lakehouse.core.errors import UsageError


def time_of(option: str, text: str) -> datetime:
    """An RFC 3339 time or a date; UTC where it names no offset."""
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UsageError(option, f"{text!r} is not a time", "write 2026-11-20T12:00:00Z") from None
