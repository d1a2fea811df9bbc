"""Gaps between the addresses that are held: given up, expired, aborted, markers, or missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import duckdb

from lakehouse.audit.topic import SAMPLE, Gap, Judge, Judged
from lakehouse.ingest.ends import Ends, Lost
from lakehouse.ingest.topic import Topic


def accepted(ends: Ends) -> list[Lost]:
    """What was given up of the topic that there is now, and how far it reaches."""
    return [gap for gap in ends.lost if gap.next is not None and gap.topic_id == ends.topic_id]


class Found:
    """What gaps turned out to be: counted by partition, the first of each kind listed."""

    def __init__(self) -> None:
        self.counts: dict[int, dict[str, int]] = {}
        self.missing: list[dict[str, Any]] = []
        self.apart: list[dict[str, Any]] = []

    def add(self, gap: Gap, kind: str, size: int) -> None:
        """Count ``size`` offsets of a gap as one kind."""
        if size:
            here = self.counts.setdefault(gap.partition, {})
            here[kind] = here.get(kind, 0) + size
            listed = sum(1 for row in self.apart if row["kind"] == kind)
            if kind != "missing" and listed < SAMPLE:
                self.apart.append(
                    {"partition": gap.partition, "first": gap.first, "last": gap.next - 1,
                     "kind": kind, "offsets": size}
                )  # fmt: skip

    def take(self, judged: Judged) -> None:
        """Count what Kafka has in a gap."""
        gap = judged.gap
        self.add(gap, "missing", judged.committed)
        self.add(gap, "aborted", judged.aborted)
        self.add(gap, "markers", max(0, len(gap) - judged.committed - judged.aborted))
        room = SAMPLE - len(self.missing)
        self.missing += [
            {"partition": gap.partition, "offset": offset}
            for offset in judged.first_committed[:room]
        ]


def judge_gaps(
    connection: duckdb.DuckDBPyConnection, ends: Ends, topic: Topic | None, judge: Judge | None
) -> Found:
    """What the gaps between the addresses at hand are, by what Kafka has there."""
    found = Found()
    gaps = _not_accepted(connection, accepted(ends), found)
    if topic is None or judge is None:
        for gap in gaps:
            found.add(gap, "unknown", len(gap))
        return found
    for judged in judge(_in_range(gaps, topic, found)):
        found.take(judged)
    return found


def unaccounted(connection: duckdb.DuckDBPyConnection, ends: Ends) -> list[Gap]:
    """Offsets below the ends that no table has and nobody gave up, among these addresses."""
    return [*_not_accepted(connection, accepted(ends), Found())]


def _not_accepted(
    connection: duckdb.DuckDBPyConnection, gone: list[Lost], found: Found
) -> Iterator[Gap]:
    """The parts of each gap that were not given up."""
    for whole in _gaps(connection):
        first = whole.first
        for lost in sorted(gone, key=lambda gap: gap.first):
            upto = min(whole.next, lost.next or 0)
            if lost.partition != whole.partition or upto <= first or lost.first >= whole.next:
                continue
            if first < lost.first:
                yield Gap(whole.partition, first, lost.first)
            given_up = Gap(whole.partition, max(first, lost.first), upto)
            found.add(given_up, "accepted", len(given_up))
            first = upto
        if first < whole.next:
            yield Gap(whole.partition, first, whole.next)


def _in_range(gaps: Iterable[Gap], topic: Topic, found: Found) -> Iterator[Gap]:
    """The part of each gap that Kafka has; what lies below has expired, above it is unknown."""
    for gap in gaps:
        beginning, end = topic.ranges.get(gap.partition, (gap.next, gap.next))
        below = Gap(gap.partition, gap.first, max(gap.first, min(gap.next, beginning)))
        above = Gap(gap.partition, min(gap.next, max(end, below.next)), gap.next)
        found.add(below, "expired", len(below))
        found.add(above, "unknown", len(above))
        if below.next < above.first:
            yield Gap(gap.partition, below.next, above.first)


def _gaps(connection: duckdb.DuckDBPyConnection) -> Iterator[Gap]:
    found = connection.execute(
        'SELECT "partition", "offset" + 1, following FROM seams WHERE following > "offset" '
        "ORDER BY ALL"
    )
    while rows := found.fetchmany(10_000):
        yield from (Gap(*row) for row in rows)
