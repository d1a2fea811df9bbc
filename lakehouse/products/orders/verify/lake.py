"""The lake: the topic's records in bronze, and what follows bronze."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lakehouse.audit.pins import count
from lakehouse.core.errors import TableMissing
from lakehouse.ingest.topic import TopicReader
from lakehouse.model.flow import ParquetFlow
from lakehouse.products.orders.contract import NAME
from lakehouse.products.orders.tables import FLOWS
from lakehouse.products.orders.verify.check import Check, Parts
from lakehouse.products.orders.verify.table import (
    SILVER,
)
from lakehouse.sinks.parquet import DATE, taken
from lakehouse.storage.duck import query, reads

PARQUET = next(flow for flow in FLOWS if isinstance(flow, ParquetFlow))


def bronze_checks(parts: Parts) -> Iterator[Check]:
    """Pin bronze and quarantine; the topic's ends against bronze's; events counted twice."""
    section, snapshots = parts.settings.captured(NAME), parts.snapshots
    if not snapshots.exists(f"bronze.{NAME}"):
        raise TableMissing(f"table bronze.{NAME}", "does not exist yet", parts.fix)
    pin = snapshots.pin("bronze", f"bronze.{NAME}")
    snapshots.pin("quarantine", f"quarantine.{NAME}")
    with TopicReader(parts.settings.kafka, section.topic) as reader:
        topic = reader.read()
    ranges = topic.ranges if topic else {}
    ends = snapshots.ends(pin, section.topic, topic.id if topic else "")
    sent = sum(after - first for first, after in ranges.values())
    yield Check(
        "topic",
        topic is not None,
        f"{sent:,} records in {section.topic}",
        "" if topic else parts.fix,
    )
    held = ends.next if ends else {}
    behind = sum(max(0, after - held.get(p, first)) for p, (first, after) in ranges.items())
    total = count(parts.connection, "bronze")
    bad = count(parts.connection, "quarantine")
    yield Check(
        "bronze", not behind,
        f"{total:,} changes at version {pin.version}, {bad:,} records in quarantine, "
        f"{behind:,} of the topic not landed", parts.fix if behind else "",
    )  # fmt: skip
    marked = count(parts.connection, "bronze WHERE is_duplicate")
    doubled = count(
        parts.connection,
        "(SELECT event_id FROM bronze WHERE NOT is_duplicate GROUP BY ALL HAVING count(*) > 1)",
    )
    yield Check(
        "duplicates", not doubled,
        f"{doubled:,} changes count twice; {marked:,} were sent again and are marked",
        "raise [orders] deduplication_horizon" if doubled else "",
    )  # fmt: skip
    newest = query(
        parts.connection,
        "SELECT max(event_time) AS newest, coalesce(quantile_cont(epoch_ms(ingest_time) "
        "- epoch_ms(event_time), 0.5), 0) / 1000.0 AS seconds FROM "
        "(FROM bronze WHERE op <> 'r' ORDER BY ingest_time DESC LIMIT 1000)",
    ).to_pylist()[0]
    detail = "no change since the snapshot"
    if newest["newest"] is not None:
        detail = (
            f"the newest change is of {newest['newest']:%Y-%m-%d %H:%M:%S} UTC; the last 1,000 "
            f"took {newest['seconds']:.1f} s from commit to bronze, half of them less"
        )
    yield Check("freshness", True, detail)


def parquet_checks(parts: Parts) -> Iterator[Check]:
    """The Parquet files against bronze at the version that they hold."""
    folder = Path(parts.snapshots.lake.table(PARQUET.table))
    state = taken(folder) if folder.is_dir() else None
    if state is None:
        yield Check("parquet", False, f"{folder} holds nothing yet", parts.fix)
        return
    files = sorted(str(file) for file in folder.glob(f"{DATE}=*/*.parquet"))
    parts.snapshots.pin("bronze_then", f"bronze.{NAME}", max(0, state.version))
    wanted = f"(SELECT event_id, {PARQUET.date} AS day FROM bronze_then "
    wanted += f"WHERE NOT is_duplicate AND {PARQUET.where})"
    found = "(SELECT '' AS event_id, DATE '1970-01-01' AS day WHERE false)"
    if files:
        found = f"(SELECT event_id, CAST({DATE} AS DATE) AS day FROM "
        found += f"{reads(files, 'hive_partitioning = true')})"
    rows, due = count(parts.connection, found), count(parts.connection, wanted)
    differing = count(
        parts.connection,
        f"((FROM {found} EXCEPT ALL FROM {wanted}) UNION ALL "
        f"(FROM {wanted} EXCEPT ALL FROM {found}))",
    )
    yield Check(
        "parquet", rows == due and not differing,
        f"{rows:,} rows in {len(files):,} files at bronze version {state.version}, {due:,} due, "
        f"{differing:,} differ",
        f"remove {folder}, then {parts.fix}" if differing else "",
    )  # fmt: skip


def followers_checks(parts: Parts) -> Iterator[Check]:
    """How far silver and Parquet follow bronze."""
    snapshots = parts.snapshots
    newest = int(snapshots.open(f"bronze.{NAME}").version())
    behind = {}
    for name in SILVER.tables:
        version = -1
        if snapshots.exists(name):
            note = snapshots.note(name, "source", int(snapshots.open(name).version()))
            version = int(note["version"]) if note else -1
        if version < newest:
            behind[name] = version
    state = taken(Path(snapshots.lake.table(PARQUET.table)))
    if state is None or state.version < newest:
        behind[PARQUET.table] = state.version if state else -1
    told = ", ".join(f"{name} at {version}" for name, version in behind.items())
    yield Check(
        "checkpoint", not behind,
        f"bronze is at version {newest}; {f'behind: {told}' if told else 'all have taken it in'}",
        parts.fix if behind else "",
    )  # fmt: skip
