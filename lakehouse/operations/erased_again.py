"""Addresses that the ledger ``erased`` lost are found again: they are the ones that no table holds.

A ledger's row says nothing but an address. What its lost files held is what is lacking
below bronze's ends now, if it is not more than they held, and lies where they lay:
the log still says both. Rows that bronze or quarantine lost are found by their own
fingerprints, so these are not concealed by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.audit.addresses import account, erased_view, quarantine_view
from lakehouse.audit.gaps import unaccounted
from lakehouse.audit.pins import Pin, Snapshots, engine
from lakehouse.audit.topic import Gap, Judge
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.erased import ERASED_SCHEMA
from lakehouse.ingest.topic import Topic
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import reads


def lacking_rows(
    product: str,
    settings: Settings,
    whole: list[str],
    lost: pa.Table,
    topic: Topic | None,
    judge: Judge,
) -> pa.Table | None:
    """What the ledger held in its ``lost`` files (their actions), given those that are ``whole``.

    None where more is lacking than they held, or elsewhere: that was not erased.
    """
    with engine(settings) as connection:
        snapshots = Snapshots(settings.lake.root, connection)
        bronze = snapshots.pin("bronze", f"bronze.{product}")
        ends = snapshots.ends(bronze, settings.product(product).topic, topic.id if topic else "")
        if ends is None:
            return None
        erased_view(connection, _ledger(connection, whole))
        name = f"quarantine.{product}"
        there = snapshots.pin("all_quarantine", name) if snapshots.exists(name) else None
        quarantine_view(connection, there, ends)
        asked = topic if topic and topic.id == ends.topic_id else None
        account(connection, ends, asked, None)
        gaps = [*unaccounted(connection, ends)]
    rows = sum(_column(lost, "num_records"))
    found = [*islice(_records(gaps, asked, judge), rows + 1)]
    is_theirs = len(found) <= rows and _lie_in(found, lost)
    return _as_rows(found, ends, product, lost) if is_theirs else None


def _ledger(connection: duckdb.DuckDBPyConnection, whole: list[str]) -> Pin:
    """The view ``ledger`` of these files, as the audit pins one."""
    connection.register("no_ledger", ERASED_SCHEMA.empty_table())
    listed = f"SELECT * FROM {reads(whole, 'union_by_name = true')} UNION ALL BY NAME " * bool(
        whole
    )
    connection.execute(f"CREATE OR REPLACE TEMP VIEW ledger AS {listed} SELECT * FROM no_ledger")
    return Pin("erased", "", 0, tuple(ERASED_SCHEMA.names))


def _records(gaps: list[Gap], topic: Topic | None, judge: Judge) -> Iterator[tuple[int, int]]:
    """Addresses in gaps: records that Kafka has, and what it has no more, which may be some."""
    begin = {gap.partition: 2**63 for gap in gaps}
    begin |= {p: first for p, (first, _) in topic.ranges.items()} if topic else {}
    for gap in gaps:
        below = range(gap.first, min(gap.next, begin[gap.partition]))
        yield from ((gap.partition, offset) for offset in below)
    there = (
        Gap(gap.partition, offset, offset + 1)
        for gap in gaps
        for offset in range(max(gap.first, begin[gap.partition]), gap.next)
    )
    yield from ((j.gap.partition, j.gap.first) for j in judge(there) if j.committed)


def _lie_in(found: list[tuple[int, int]], lost: pa.Table) -> bool:
    """Whether all addresses lie where a file's rows lay."""
    ends = [f"{end}.{name}" for name in ("partition", "offset") for end in ("min", "max")]
    bounds = [*zip(*(_column(lost, end) for end in ends), strict=True)]
    return all(
        any(p <= partition <= q and first <= offset <= last for p, q, first, last in bounds)
        for partition, offset in found
    )


def _column(actions: pa.Table, name: str) -> list[Any]:
    return list(actions[name].to_pylist())


def _as_rows(found: list[tuple[int, int]], ends: Ends, product: str, lost: pa.Table) -> pa.Table:
    """Rows of the ledger; of which batch they were nobody knows any more."""
    size = len(found)
    columns = {
        "topic": pa.repeat(ends.topic, size),
        "partition": pa.array([partition for partition, _ in found], pa.int32()),
        "offset": pa.array([offset for _, offset in found], pa.int64()),
        "erased_at": pa.repeat(pc.max(lost["max.erased_at"]), size),
        "table": pa.repeat(f"bronze.{product}", size),
        "batch_id": pa.nulls(size, pa.int64()),
        "topic_id": pa.repeat(ends.topic_id, size),
    }
    return pa.table(columns).select(ERASED_SCHEMA.names).cast(ERASED_SCHEMA)
