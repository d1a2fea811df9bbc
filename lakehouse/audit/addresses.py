"""Every address of a topic, once: what bronze and quarantine hold against Kafka's own offsets.

Sorted addresses have a seam wherever the next one is not the next offset: the
same offset again is a doubled address, a later one a gap. Only seams leave DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.audit.pins import Pin, count
from lakehouse.audit.topic import SAMPLE, Gap, Judge, Judged, Topic
from lakehouse.core.duck import query
from lakehouse.publish.ends import Ends

_LANDED = """
CREATE OR REPLACE TEMP TABLE addresses AS
SELECT "partition", "offset", true AS in_bronze
FROM bronze JOIN ends USING ("partition") WHERE topic = $topic AND "offset" < "end"
UNION ALL
SELECT "partition", "offset", false
FROM quarantine JOIN ends USING ("partition") WHERE topic = $topic AND "offset" < "end"
"""
_ERASED = """
INSERT INTO addresses SELECT DISTINCT "partition", "offset", CAST(NULL AS BOOLEAN)
FROM erased JOIN ends USING ("partition") ANTI JOIN addresses USING ("partition", "offset")
WHERE topic = $topic AND "offset" < "end"
"""
_STILL_HELD = """
(SELECT DISTINCT "partition", "offset" FROM erased
SEMI JOIN (FROM addresses WHERE in_bronze IS NOT NULL) USING ("partition", "offset")
WHERE topic = $topic)
"""
_COUNTED = """
SELECT "partition", ends."end",
    count(in_bronze) FILTER (in_bronze) AS bronze,
    count(in_bronze) FILTER (NOT in_bronze) AS quarantine,
    count(in_bronze) FILTER ("offset" < beginning) AS kept,
    count("offset") FILTER (in_bronze IS NULL) AS erased
FROM ends LEFT JOIN addresses USING ("partition") GROUP BY ALL ORDER BY ALL
"""
_SEAMS = """
CREATE OR REPLACE TEMP TABLE seams AS
WITH starts AS (
    SELECT "partition", "end", least(coalesce(min("offset"), beginning), beginning) AS start
    FROM ends LEFT JOIN addresses USING ("partition") GROUP BY "partition", "end", beginning
), bounded AS (
    SELECT "partition", "offset" FROM addresses
    UNION ALL SELECT "partition", start - 1 FROM starts WHERE start < "end"
    UNION ALL SELECT "partition", "end" FROM starts WHERE start < "end"
)
SELECT "partition", "offset",
    lead("offset") OVER (PARTITION BY "partition" ORDER BY "offset") AS following
FROM bounded QUALIFY following <> "offset" + 1
"""
_TWICE = 'SELECT "partition", count(*) FROM seams WHERE following = "offset" GROUP BY 1'
_DOUBLED = """
SELECT "partition", "offset", count(*) FILTER (in_bronze) AS bronze,
    count(*) FILTER (NOT in_bronze) AS quarantine
FROM addresses SEMI JOIN (
    SELECT DISTINCT "partition", "offset" FROM seams WHERE following = "offset"
    ORDER BY ALL LIMIT $sample
) USING ("partition", "offset") GROUP BY ALL ORDER BY ALL
"""
_ABOVE = """
{table} LEFT JOIN ends USING ("partition")
WHERE topic = $topic AND ("end" IS NULL OR "offset" >= "end")
"""
_REPLAYED = "SELECT * FROM all_quarantine WHERE replayed_version IS NULL OR replayed_version > {}"
_EMPTY = 'SELECT "partition", "offset", topic FROM bronze WHERE false'


@dataclass(frozen=True)
class Partition:
    """One topic partition: what is to be accounted for, and where it was found.

    Kafka's own numbers are None where Kafka could not be asked. ``kept`` rows are
    older than what Kafka still has; ``markers`` are offsets that hold no record:
    transaction markers, and records that compaction took; ``expired`` offsets lie
    below what Kafka has, above the first held, and in neither table.
    """

    partition: int
    beginning: int | None
    end: int
    kafka_end: int | None
    bronze: int
    quarantine: int
    kept: int
    doubled: int = 0
    missing: int = 0
    aborted: int = 0
    markers: int = 0
    expired: int = 0
    unknown: int = 0
    erased: int = 0
    """Addresses that the ledger of `lakehouse erase` names."""


@dataclass(frozen=True)
class Account:
    """All partitions; the first of whatever is wrong; rows that no range holds."""

    partitions: tuple[Partition, ...]
    missing: tuple[dict[str, Any], ...]
    doubled: tuple[dict[str, Any], ...]
    set_apart: tuple[dict[str, Any], ...]
    """Gaps that are no loss, or not known to be one, by kind."""
    above_ends: int
    """Rows of bronze above its own ends: it cannot have taken them in."""
    leftover: int
    """Rows of quarantine above bronze's ends: left by a crash, or landing now."""
    other_topics: int
    erasing: int = 0
    """Addresses that the ledger names and a table still holds."""

    def total(self, name: str) -> int:
        """A column's sum over the partitions."""
        return sum(getattr(p, name) for p in self.partitions)


def quarantine_view(connection: duckdb.DuckDBPyConnection, pin: Pin | None, bronze: Pin) -> None:
    """The view ``quarantine``: rows that were not replayed into the pinned bronze."""
    rows = _EMPTY if pin is None else "SELECT * FROM all_quarantine"
    if pin is not None and "replayed_version" in pin.columns:
        rows = _REPLAYED.format(bronze.version)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW quarantine AS {rows}")


def erased_view(connection: duckdb.DuckDBPyConnection, pin: Pin | None) -> None:
    """The view ``erased``: the ledger's addresses; empty where nothing was erased."""
    rows = _EMPTY if pin is None else "SELECT * FROM ledger"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW erased AS {rows}")


def account(
    connection: duckdb.DuckDBPyConnection, ends: Ends, topic: Topic | None, judge: Judge | None
) -> Account:
    """Compare the views ``bronze``, ``quarantine`` and ``erased`` with the topic, up to ``ends``.

    Without a topic or a judge the addresses are counted all the same, and gaps
    stay unknown.
    """
    _register_ends(connection, ends, topic)
    named = {"topic": ends.topic}
    connection.execute(_LANDED, named)
    connection.execute(_ERASED, named)
    counted = connection.execute(_COUNTED).fetchall()
    connection.execute(_SEAMS)
    doubled = dict(connection.execute(_TWICE).fetchall())
    found = _judge_gaps(connection, topic, judge)
    partitions = []
    for number, end, bronze, quarantine, below, erased in counted:
        first, after = topic.ranges.get(number, (None, None)) if topic else (None, None)
        kept = below if topic else 0
        twice, more = doubled.get(number, 0), found.counts.get(number, {})
        more = {**more, "erased": erased}
        partitions.append(
            Partition(number, first, end, after, bronze, quarantine, kept, twice, **more)
        )
    return Account(
        tuple(partitions),
        tuple(found.missing),
        tuple(query(connection, _DOUBLED, {"sample": SAMPLE}).to_pylist()),
        tuple(found.apart),
        count(connection, _ABOVE.format(table="bronze"), named),
        count(connection, _ABOVE.format(table="quarantine"), named),
        count(connection, "bronze WHERE topic <> $topic", named),
        count(connection, _STILL_HELD, named),
    )


def _register_ends(connection: duckdb.DuckDBPyConnection, ends: Ends, topic: Topic | None) -> None:
    ranges: Mapping[int, tuple[int, int]] = topic.ranges if topic else {}
    numbers = sorted(ends.next)
    table = pa.table(
        {
            "partition": pa.array(numbers, pa.int32()),
            "end": pa.array([ends.next[n] for n in numbers], pa.int64()),
            "beginning": pa.array([ranges.get(n, (_NEVER, 0))[0] for n in numbers], pa.int64()),
        }
    )
    connection.register("ends", table)


_NEVER = 2**62
"""A beginning above every offset, where Kafka's is not known: no gap precedes the first held."""


class _Found:
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


def _judge_gaps(
    connection: duckdb.DuckDBPyConnection, topic: Topic | None, judge: Judge | None
) -> _Found:
    found = _Found()
    if topic is None or judge is None:
        for gap in _gaps(connection):
            found.add(gap, "unknown", len(gap))
        return found
    for judged in judge(_in_range(connection, topic, found)):
        found.take(judged)
    return found


def _in_range(connection: duckdb.DuckDBPyConnection, topic: Topic, found: _Found) -> Iterator[Gap]:
    """The part of each gap that Kafka has; what lies below has expired, above it is unknown."""
    for gap in _gaps(connection):
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
