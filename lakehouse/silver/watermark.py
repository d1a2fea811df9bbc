"""The watermark that bronze had after a commit: its newest event time, less the delay."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from lakehouse.ingest.ends import Ends
from lakehouse.storage.increments import Increment
from lakehouse.storage.log import commits, notes

_DATE = re.compile(r"/event_date=(\d{4}-\d\d-\d\d)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def watermark_at(uri: str, step: Increment) -> int | None:
    """What the newest commit that says it up to the step's version says, in µs since 1970."""
    told = (note["ends"] for note in notes(commits(uri, step.version)) if "ends" in note)
    note = next(told, None)
    watermark = Ends.read(note).watermark if note else None
    return None if watermark is None else (watermark - _EPOCH) // timedelta(microseconds=1)


def before_next_part(step: Increment, watermark: int | None) -> int | None:
    """The watermark, where no later part of all of bronze has an older date.

    Parts are in the order of their paths, which begin with the date.
    """
    found = _DATE.search(step.files[-1]) if step.files else None
    if found is None or watermark is None:
        return None
    midnight = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    return min(watermark, (midnight - _EPOCH) // timedelta(microseconds=1))
