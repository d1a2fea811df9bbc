"""Which offsets of a topic are read again: all in slices, or a sample over partitions and time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa

from lakehouse.audit.topic import Gap

SLICE = 500_000
"""Offsets that are read and compared at a time."""
RUN, RUNS = 160, 25
"""A sample is runs of neighbours, one drawn from each of so many equal stretches of offsets."""
BAD = 20
"""How many records of quarantine a sample has besides."""


def slices(ranges: Mapping[int, tuple[int, int]]) -> Iterator[list[Gap]]:
    """All offsets of the ranges, a part of a partition at a time."""
    for partition, (first, after) in sorted(ranges.items()):
        for start in range(first, after, SLICE):
            yield [Gap(partition, start, min(start + SLICE, after))]


def sample(
    connection: duckdb.DuckDBPyConnection, ranges: Mapping[int, tuple[int, int]]
) -> list[Gap]:
    """Runs spread over partitions and, as offsets grow with time, over time.

    Drawn again each time, so that nobody knows which. A small topic is taken whole;
    of quarantine some more addresses are drawn.
    """
    total = sum(after - first for first, after in ranges.values())
    if total <= RUN * RUNS:
        return [Gap(p, first, after) for p, (first, after) in sorted(ranges.items())]
    drawn: list[Gap] = []
    for partition, (first, after) in ranges.items():
        runs = max(1, round(RUNS * (after - first) / total))
        for number in range(runs):
            low = first + (after - first) * number // runs
            high = first + (after - first) * (number + 1) // runs
            start = random.SystemRandom().randrange(low, max(low + 1, high - RUN + 1))
            drawn.append(Gap(partition, start, min(start + RUN, high)))
    drawn += [
        Gap(partition, offset, offset + 1)
        for partition, offset in _bad(connection, ranges)
        if not any(g.partition == partition and g.first <= offset < g.next for g in drawn)
    ]
    return sorted((g for g in drawn if len(g)), key=lambda gap: (gap.partition, gap.first))


def _bad(
    connection: duckdb.DuckDBPyConnection, ranges: Mapping[int, tuple[int, int]]
) -> list[tuple[int, int]]:
    rows = connection.execute(
        f'SELECT "partition", "offset" FROM quarantined USING SAMPLE reservoir({BAD} ROWS)'
    ).fetchall()
    return [
        (partition, offset)
        for partition, offset in sorted(set(rows))
        if partition in ranges and ranges[partition][0] <= offset < ranges[partition][1]
    ]


def register(connection: duckdb.DuckDBPyConnection, gaps: list[Gap]) -> None:
    """Make the ranges the relation ``ranges``, which :data:`INSIDE` reads."""
    connection.register(
        "ranges",
        pa.table(
            {
                "partition": pa.array([g.partition for g in gaps], pa.int32()),
                "first": pa.array([g.first for g in gaps], pa.int64()),
                "next": pa.array([g.next for g in gaps], pa.int64()),
            }
        ),
    )


INSIDE = """
SEMI JOIN ranges ON ranges."partition" = {table}."partition"
AND {table}."offset" >= ranges.first AND {table}."offset" < ranges.next
"""
"""SQL after a table's name that keeps rows in the ranges."""
