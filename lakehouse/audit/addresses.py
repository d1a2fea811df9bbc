"""Every address of a topic, once: what bronze and quarantine hold against Kafka's own offsets.

Sorted addresses have a seam wherever the next one is not the next offset: the
same offset again is a doubled address, a later one a gap. Only seams leave DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.audit.account import Account, Partition
from lakehouse.audit.gaps import accepted, judge_gaps
from lakehouse.audit.pins import Pin, count
from lakehouse.audit.steps import is_told
from lakehouse.audit.topic import SAMPLE, Gap, Judge
from lakehouse.core.sql import texts
from lakehouse.ingest.ends import Ends, Lost
from lakehouse.ingest.replayed import true_marks
from lakehouse.ingest.topic import Topic
from lakehouse.storage.duck import query

FEW = 10_000
"""So many offsets that wait are read, to tell records from markers."""
_NEVER = 2**62
"""A beginning above every offset, where Kafka's is not known: no gap precedes the first held."""
_LANDED = """
CREATE OR REPLACE TEMP TABLE addresses AS
SELECT "partition", "offset", true AS in_bronze
FROM bronze JOIN ends USING ("partition") WHERE topic = $topic AND "offset" < "end" AND {now}
UNION ALL
SELECT "partition", "offset", false
FROM quarantine JOIN ends USING ("partition")
WHERE topic = $topic AND "offset" < "end" AND {now_by_id}
"""
_ERASED = """
INSERT INTO addresses SELECT DISTINCT "partition", "offset", CAST(NULL AS BOOLEAN)
FROM erased JOIN ends USING ("partition") ANTI JOIN addresses USING ("partition", "offset")
WHERE topic = $topic AND "offset" < "end" AND {now_by_id}
"""
_STILL_HELD = """
(SELECT DISTINCT "partition", "offset" FROM erased
SEMI JOIN (FROM addresses WHERE in_bronze IS NOT NULL) USING ("partition", "offset")
WHERE topic = $topic AND {now_by_id})
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
    SELECT "partition", "end",
        least(coalesce(min("offset"), beginning), beginning, lost, first) AS start
    FROM ends LEFT JOIN addresses USING ("partition")
    GROUP BY "partition", "end", beginning, lost, first
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
_LOWEST = """
SELECT "partition" FROM ends ANTI JOIN addresses
ON addresses."partition" = ends."partition" AND addresses."offset" = ends.first
WHERE first < "end"
"""
_ABOVE = """
{table} LEFT JOIN ends USING ("partition")
WHERE topic = $topic AND ("end" IS NULL OR "offset" >= greatest("end", held)) AND {now}
"""
_FORMER = """
SELECT {cuts} AS logs_since, "partition", "offset", untaken, count(*) AS times
FROM (
    SELECT "partition", "offset", batch_id, NULL AS untaken FROM bronze
    WHERE topic = $topic AND NOT ({now})
    UNION ALL SELECT "partition", "offset", batch_id,
        CASE WHEN topic_id NOT IN ({known}) THEN topic_id END FROM quarantine
    WHERE topic = $topic AND NOT ({now_by_id})
) GROUP BY ALL
"""
"""``untaken`` is the id of a topic that bronze took nothing of before it was recreated."""
_EMPTY = """
SELECT "partition", "offset", topic, batch_id, CAST(NULL AS VARCHAR) AS topic_id, '' AS "table"
FROM bronze WHERE false
"""


def quarantine_view(connection: duckdb.DuckDBPyConnection, pin: Pin | None, ends: Ends) -> None:
    """The view ``quarantine``: rows that the pinned bronze, or what was erased of it, lacks.

    The views ``bronze`` and ``erased`` are there.
    """
    rows = with_columns(pin, "all_quarantine")
    if pin is not None and "replayed_version" in pin.columns and _is_any_marked(connection):
        marked = true_marks(f"({rows})", "bronze", "erased", ends)
        rows = f"SELECT * FROM ({marked}) WHERE replayed_version IS NULL"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW quarantine AS {rows}")


def _is_any_marked(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a replay began with any row: where none did, nobody need look for it in bronze."""
    try:
        return count(connection, "all_quarantine WHERE replayed_version IS NOT NULL") > 0
    except BaseException as error:
        if not is_told(error):
            raise
        return True  # whoever reads the rows says what is wrong with them


def erased_view(connection: duckdb.DuckDBPyConnection, pin: Pin | None) -> None:
    """The view ``erased``: the ledger's addresses; empty where nothing was erased."""
    rows = with_columns(pin, "ledger")
    connection.execute(f"CREATE OR REPLACE TEMP VIEW erased AS {rows}")


def with_columns(pin: Pin | None, view: str) -> str:
    """The rows with batch and topic id, null in a table of an earlier release; none without one."""
    if pin is None:
        return _EMPTY
    kinds = {"batch_id": "BIGINT", "topic_id": "VARCHAR"}
    added = [f", CAST(NULL AS {kinds[n]}) AS {n}" for n in kinds if n not in pin.columns]
    return f"SELECT *{''.join(added)} FROM {view}"


def account(
    connection: duckdb.DuckDBPyConnection, ends: Ends, topic: Topic | None, judge: Judge | None
) -> Account:
    """Compare the views ``bronze``, ``quarantine`` and ``erased`` with the topic, up to ``ends``.

    Without a topic or a judge the addresses are counted all the same, and gaps
    stay unknown.
    """
    _register_ends(connection, ends, topic)
    named = {"topic": ends.topic}
    now, by_id = ends.are_of_now(), ends.are_of_now(by_id=True)
    connection.execute(_LANDED.format(now=now, now_by_id=by_id), named)
    connection.execute(_ERASED.format(now_by_id=by_id), named)
    counted = connection.execute(_COUNTED).fetchall()
    connection.execute(_SEAMS)
    doubled = dict(connection.execute(_TWICE).fetchall())
    found = judge_gaps(connection, ends, topic, judge)
    lowest = {row[0] for row in connection.execute(_LOWEST).fetchall()}
    partitions = []
    for number, end, bronze, quarantine, below, erased in counted:
        beginning, after = topic.ranges.get(number, (None, None)) if topic else (None, None)
        kept = below if topic else 0
        twice, more = doubled.get(number, 0), found.counts.get(number, {})
        unread = max(0, (beginning or 0) - end) if ends.next else 0
        partition = Partition(
            number, beginning, end, after, bronze, quarantine, kept, twice, erased=erased,
            first=ends.first.get(number), lowest_missing=number in lowest, unread=unread, **more,
        )  # fmt: skip
        partitions.append(partition)
    return Account(
        tuple(_with_waiting(partitions, judge)),
        tuple(found.missing),
        tuple(query(connection, _DOUBLED, {"sample": SAMPLE}).to_pylist()),
        tuple(found.apart),
        count(connection, _ABOVE.format(table="bronze", now=now), named),
        count(connection, _ABOVE.format(table="quarantine", now=by_id), named),
        count(connection, "bronze WHERE topic <> $topic", named),
        tuple(_lost(gap) for gap in ends.lost),
        *_former(connection, ends),
        count(connection, _STILL_HELD.format(now_by_id=by_id), named),
        topic is not None,
    )


def _with_waiting(partitions: list[Partition], judge: Judge | None) -> Iterator[Partition]:
    """The partitions with the records that wait in Kafka: looked at where they are few."""
    gaps = {
        p.partition: Gap(p.partition, max(p.end, p.beginning or 0), p.kafka_end)
        for p in partitions
        if p.kafka_end is not None and max(p.end, p.beginning or 0) < p.kafka_end
    }
    waiting = {number: len(gap) for number, gap in gaps.items()}
    if judge is not None and sum(waiting.values()) <= FEW:
        waiting |= {j.gap.partition: j.committed for j in judge(gaps.values())} if gaps else {}
    yield from (replace(p, waiting=waiting.get(p.partition, 0)) for p in partitions)


def _lost(gap: Lost) -> dict[str, Any]:
    last = None if gap.next is None else gap.next - 1
    return {"partition": gap.partition, "first": gap.first, "last": last,
            "offsets": gap.offsets, "why": gap.kind, "topic_id": gap.topic_id}  # fmt: skip


def _former(connection: duckdb.DuckDBPyConnection, ends: Ends) -> tuple[int, int]:
    """How many addresses are of a log that is gone, and how many of them are held twice."""
    batches = sorted({gap.batch for gap in ends.lost if gap.again is not None})
    cuts = " + ".join(f"CAST(coalesce(batch_id, 0) <= {batch} AS INTEGER)" for batch in batches)
    ids = sorted({ends.topic_id, *(gap.topic_id for gap in ends.lost)})
    sql = _FORMER.format(
        cuts=cuts or "0",
        known=texts(ids),
        now=ends.are_of_now(),
        now_by_id=ends.are_of_now(by_id=True),
    )
    row = connection.execute(
        f"SELECT count(*), count(*) FILTER (times > 1) FROM ({sql})", {"topic": ends.topic}
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _register_ends(connection: duckdb.DuckDBPyConnection, ends: Ends, topic: Topic | None) -> None:
    ranges: Mapping[int, tuple[int, int]] = topic.ranges if topic else {}
    numbers = sorted({*ends.next, *ranges})
    table = pa.table(
        {
            "partition": pa.array(numbers, pa.int32()),
            "end": pa.array([ends.next.get(n, 0) for n in numbers], pa.int64()),
            "beginning": pa.array([ranges.get(n, (_NEVER, 0))[0] for n in numbers], pa.int64()),
            "held": pa.array([ends.held.get(n, 0) for n in numbers], pa.int64()),
            "lost": pa.array([_first_lost(ends, n) for n in numbers], pa.int64()),
            "first": pa.array([_first_taken(ends, n) for n in numbers], pa.int64()),
        }
    )
    connection.register("ends", table)


def _first_lost(ends: Ends, partition: int) -> int:
    """The first offset of a partition, as it is now, that was given up."""
    first = [gap.first for gap in accepted(ends) if gap.partition == partition]
    return min(first, default=_NEVER)


def _first_taken(ends: Ends, partition: int) -> int:
    """The lowest offset that bronze ever landed of a partition, unless it was given up since."""
    first = ends.first.get(partition, _NEVER)
    given_up = any(
        gap.partition == partition and gap.first <= first < (gap.next or 0)
        for gap in accepted(ends)
    )
    return _NEVER if given_up else first
