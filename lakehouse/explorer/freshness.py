"""How old events were when bronze, and then silver, had them; told by logs alone.

A commit's log says of each file how many records it has and the least and greatest Kafka time of
them, so no file is opened: records of a file are taken to lie evenly between the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from lakehouse.storage.entries import entry_fault
from lakehouse.storage.log import commits, entry, note_of

_BATCHES = 20
"""How many batches of bronze are shown, the newest."""
_RECENT = 300.0
"""Seconds before the newest of them: an older batch says nothing of now."""
_POINTS = 8
"""So many points stand for the records of a file."""
_COMMITS = 60
"""So many commits of a silver table are looked through, at most."""


@dataclass(frozen=True)
class Ages:
    """Seconds from Kafka's time of a record; half of the records are younger than ``p50``."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Span:
    """Records of one file of a commit."""

    version: int
    committed: float
    records: int
    first: float
    last: float


def spans(bronze: str, newest: int) -> list[Span]:
    """The files that the newest batches of the bronze table at this path added."""
    found: list[Span] = []
    since = float("-inf")
    for commit in islice(commits(bronze, newest), _BATCHES):
        moment = int(commit["timestamp"]) / 1000
        since = max(since, moment - _RECENT)
        if moment < since:
            break
        with suppress(OSError, ValueError, KeyError):  # what the log does not say is not told
            found += _of_commit(bronze, int(commit["version"]), moment)
    return found


def landed(found: Iterable[Span]) -> Ages | None:
    """Until bronze committed them; None where no log tells."""
    return _quantiles((s.records, s.committed - s.last, s.committed - s.first) for s in found)


def applied(found: Sequence[Span], tables: Iterable[tuple[str, int]]) -> Ages | None:
    """Until the first of these tables that follow bronze had them, of those that one has.

    ``tables`` are paths, each with the newest version.
    """
    least = min((span.version for span in found), default=0)
    arrivals = sorted(
        (version, at) for uri, newest in tables for version, at in _applied(uri, newest, least)
    )
    first: list[tuple[int, float]] = []
    soonest = float("inf")
    for version, moment in reversed(arrivals):
        soonest = min(soonest, moment)
        first.append((version, soonest))
    first.reverse()

    def ages() -> Iterator[tuple[int, float, float]]:
        for span in found:
            moment = next((m for version, m in first if version >= span.version), None)
            if moment is not None:
                yield span.records, moment - span.last, moment - span.first

    return _quantiles(ages())


def _of_commit(uri: str, version: int, committed: float) -> Iterator[Span]:
    path = entry(uri, version)
    if entry_fault(path, version):
        return
    for line in path.read_text("utf-8").splitlines():
        add = json.loads(line).get("add")
        if add and add.get("dataChange", True) and (stats := json.loads(add.get("stats") or "{}")):
            least, most = (stats[side]["kafka_time"] for side in ("minValues", "maxValues"))
            yield Span(version, committed, int(stats["numRecords"]), _time(least), _time(most))


def _applied(uri: str, newest: int, least: int) -> Iterator[tuple[int, float]]:
    """Bronze's version and the time, of a table's newest commits, down to that version."""
    for commit in islice(commits(uri, newest), _COMMITS):
        if source := note_of(commit).get("source"):
            yield int(source["version"]), int(commit["timestamp"]) / 1000
            if int(source["version"]) < least:
                return


def _quantiles(spans: Iterable[tuple[int, float, float]]) -> Ages | None:
    points = sorted(
        (max(0.0, young + (old - young) * (2 * n + 1) / (2 * _POINTS)), records / _POINTS)
        for records, young, old in spans
        for n in range(_POINTS)
    )
    total = sum(weight for _, weight in points)
    if not total:
        return None

    def at(share: float) -> float:
        reached = 0.0
        for age, weight in points:
            reached += weight
            if reached >= share * total:
                return age
        return points[-1][0]

    return Ages(at(0.5), at(0.95))


def _time(told: str) -> float:
    return datetime.fromisoformat(told).timestamp()
