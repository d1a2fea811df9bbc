"""SQL that finds events of bronze by what a row of another table says."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from lakehouse.core.sql import text

PLACE = 'topic, "partition", "offset", batch_id'
"""What tells an event of bronze from all others."""


def events(bronze: str, *conditions: str) -> str:
    """The events that meet the conditions, after FROM; ``rows`` is their alias."""
    where = " AND ".join(["NOT is_duplicate", *conditions])
    return f"{bronze} AS rows WHERE {where}"


def shown(rows: str) -> str:
    """Events as they are shown: their time and address, the columns, the batch; newest first.

    ``rows`` is what follows FROM.
    """
    return (
        f'SELECT event_time, topic, "partition", "offset", * EXCLUDE (event_time, {PLACE}), '
        f'batch_id FROM {rows} ORDER BY event_time DESC, "partition", "offset" DESC'
    )


def equal(expression: str, value: Any) -> str:
    """A condition: the expression has this value, or both are null."""
    return f"{expression} IS NOT DISTINCT FROM {literal(value)}"


def literal(value: Any) -> str:
    """A value as SQL; text takes the type of what it is compared with."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | Decimal):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ {text(value.isoformat())}"
    if isinstance(value, date):
        return f"DATE {text(value.isoformat())}"
    return text(str(value))
