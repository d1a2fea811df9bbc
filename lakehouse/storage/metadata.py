"""The metadata that each of our commits carries: what it may say, and how far a number may go.

Another program writes its own words into its commits, also under a key of ours: those are
passed over. What says that it is ours, and does not fit, is damage: a flow that read on
past it would land records twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert

NOTE = "userMetadata"
"""The metadata key that delta-rs and Spark both read."""
_LONG = 2**63 - 1
MS = 253_402_300_800_000
"""Milliseconds that a calendar has."""
_YEARS = range(2, 9999)
"""A delay is taken from a time, and a zone: neither may leave the calendar by it."""

Count = Annotated[int, Meta(ge=0, le=_LONG)]
Change = Annotated[int, Meta(ge=-_LONG, le=_LONG)]
Number = Annotated[int, Meta(ge=-1, le=_LONG)]
"""Of a batch or a version; -1 before the first."""
Version = Annotated[int, Meta(ge=-(1 << 40), le=_LONG)]
"""A version of bronze that a follower has; far below 0 parts of a fold of all of it."""
Time = Annotated[int, Meta(ge=0, lt=MS)]
"""Milliseconds since 1970."""
Partition = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Name = Annotated[str, Meta(max_length=1_000)]
Offsets = dict[Annotated[str, Meta(pattern="^[0-9]{1,9}$")], Count]
Sum = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Batch = Annotated[str, Meta(pattern="^(-?[0-9]{1,18})?$")]


class Lost(Struct):
    """A gap that was accepted."""

    kind: Name
    topic_id: Name
    partition: Partition
    first: Count
    next: Count | None
    offsets: Count | None
    batch: Number
    again: Count | None = None


class Ends(Struct):
    """How far bronze holds its topic."""

    topic: Name
    topic_id: Name
    next: Offsets
    batch: Number
    newest: Annotated[datetime, Meta(tz=True)] | None = None
    held: Offsets = {}
    first: Offsets = {}
    lost: list[Lost] = []
    rules: list[tuple[Number, Count, Count | None]] = []
    passed: Annotated[datetime, Meta(tz=True)] | None = None
    quarantine: tuple[Count, Count] | None = None
    tables: dict[Name, Name] = {}

    def __post_init__(self) -> None:
        for time in (self.newest, self.passed):
            if time and time.year not in _YEARS:
                raise ValueError(f"year {time.year} is out of range")


class Source(Struct):
    """Which version of bronze a follower has applied."""

    id: Name
    version: Version
    time: Time | None = None


class Fingerprint(Struct):
    """The fingerprint of all rows, and by how much the commit changed it."""

    total: tuple[Change, Sum]
    since: tuple[Count, Count]
    checked: bool = False
    batches: dict[Batch, tuple[Change, Sum]] = {}


class Erase(Struct):
    """How far an erasure is."""

    since: datetime | None = None
    begun: bool = False
    records: Count | None = None

    def __post_init__(self) -> None:
        if self.begun and not self.since:
            raise ValueError("'begun' without 'since'")


class CommitMetadata(Struct):
    """What the flows and the audit read of a commit; other keys are for people."""

    flow: str | None = None
    ends: Ends | None = None
    source: Source | None = None
    fingerprint: Fingerprint | None = None
    erase: Erase | None = None
    batch: Number | None = None
    rows: Count | None = None
    quarantined: Count | None = None
    late: Count | None = None
    duplicates: Count | None = None
    timeouts: dict[Name, Count] | None = None
    accepted: Count | None = None


_OBJECTS = {"source": {"id", "version"}, "fingerprint": {"total"}, "erase": set[str]()}
"""Keys whose words others use too, and what each of ours has."""
_NUMBERS = {"batch", "rows", "quarantined", "late", "duplicates", "accepted"}


def metadata_of(commit: Mapping[str, Any]) -> dict[str, Any]:
    """What of the JSON object that a commit carries is ours, as it was written.

    Raises ValueError with the key where it says that it is ours and does not fit.
    """
    try:
        found = json.loads(commit.get(NOTE) or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    is_ours = isinstance(found.get("flow"), str)
    told = {key: value for key, value in found.items() if is_ours or _may_be_ours(key, value)}
    try:
        convert(told, CommitMetadata)
    except ValidationError as error:
        raise ValueError(f"carries metadata that does not fit: {error}") from None
    return {key: value for key, value in told.items() if value is not None}


def _may_be_ours(key: str, value: Any) -> bool:
    if key == "flow":
        return False
    if key in _NUMBERS:
        return isinstance(value, int)
    if key in _OBJECTS:
        return isinstance(value, dict) and _OBJECTS[key] <= value.keys()
    return True
