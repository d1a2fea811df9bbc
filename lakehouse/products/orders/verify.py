"""``lakehouse orders verify``: from Postgres to silver, one named check a part."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import psycopg
import pyarrow as pa
from psycopg import sql

from lakehouse.audit.pins import Snapshots, count, engine
from lakehouse.core.errors import LakehouseError, TableMissing
from lakehouse.explorer.format import Format
from lakehouse.explorer.show import render
from lakehouse.ingest.topic import TopicReader
from lakehouse.model.change import sortable
from lakehouse.model.flow import ParquetFlow, SilverFlow
from lakehouse.products.orders.contract import NAME
from lakehouse.products.orders.tables import FLOWS
from lakehouse.settings.postgres_client import connect, slot_of, unavailable
from lakehouse.settings.settings import Settings
from lakehouse.sinks.parquet import DATE, taken
from lakehouse.storage.duck import query, reads
from producers.cdc.state import read_state, state_path

SAMPLE = 10
FETCHED = 20_000
"""Rows that are read from Postgres at a time."""
SILVER = next(flow for flow in FLOWS if isinstance(flow, SilverFlow))
PARQUET = next(flow for flow in FLOWS if isinstance(flow, ParquetFlow))
CURRENT = SILVER.table("current")
COLUMNS = (
    "order_id", "customer_name", "restaurant_name", "item", "amount", "order_status", "created_at",
)  # fmt: skip
_POSTGRES = """
SELECT order_id, customer_name, restaurant_name, item, trim_scale(amount)::text, order_status,
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')
FROM {table}
"""
_HELD = """
CREATE OR REPLACE TEMP TABLE held AS
SELECT order_id, customer_name, restaurant_name, item,
    rtrim(rtrim(CAST(amount AS VARCHAR), '0'), '.') AS amount, order_status,
    strftime(created_at AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M:%S.%f') AS created_at
FROM current
"""
_DIFFERING = """
SELECT order_id, min(side) AS side, count(*) AS sides FROM (
    SELECT 'only Postgres has it' AS side, * FROM (FROM rows EXCEPT FROM held)
    UNION ALL SELECT 'only silver has it', * FROM (FROM held EXCEPT FROM rows)
) GROUP BY order_id ORDER BY order_id
"""
_LATEST = """
SELECT order_id, max(sequence) AS sequence FROM bronze WHERE op <> 't' GROUP BY order_id
"""


@dataclass(frozen=True)
class Check:
    """One part: whether it is right, what was found, what to do, and the first of what is odd."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    first: tuple[dict[str, Any], ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Field → value."""
        return asdict(self)


def verify(settings: Settings) -> list[Check]:
    """Every check, in the order of a change's way. A part that cannot be read fails its check."""
    with engine(settings) as connection:
        return list(_checks(_Parts(settings, connection)))


@dataclass(frozen=True)
class _Parts:
    settings: Settings
    connection: duckdb.DuckDBPyConnection

    @property
    def snapshots(self) -> Snapshots:
        """The lake's tables, for pinning."""
        return Snapshots(self.settings.lake.root, self.connection)

    @property
    def fix(self) -> str:
        """How to take in what is there."""
        names = " ".join(flow.name for flow in FLOWS)
        return f"lakehouse run {names} --available-now --root {self.settings.lake.root}"


def _checks(parts: _Parts) -> Iterator[Check]:
    steps: tuple[tuple[str, Callable[[_Parts], Iterator[Check]]], ...] = (
        ("postgres", _postgres), ("capture", _capture), ("bronze", _bronze),
        ("parquet", _parquet), ("checkpoint", _followers), ("silver", _equal),
    )  # fmt: skip
    unread: set[str] = set()
    for name, step in steps:
        if name == "silver" and unread & {"postgres", "bronze"}:
            yield Check(name, False, "not compared: see above", "mend that first")
            continue
        try:
            yield from step(parts)
        except LakehouseError as error:
            unread.add(name)
            yield Check(name, False, f"{error.place}: {error.fault}", error.remedy)


def _postgres(parts: _Parts) -> Iterator[Check]:
    """Read the table whole, as text, into ``rows``."""
    try:
        held = _read_table(parts)
    except psycopg.Error as error:
        raise unavailable(parts.settings.postgres, error) from None
    table = parts.settings.captured(NAME).table
    yield Check("postgres", True, f"{held:,} rows in {table}")


def _read_table(parts: _Parts) -> int:
    section = parts.settings.captured(NAME)
    statement = sql.SQL(_POSTGRES).format(table=sql.Identifier(*section.table.split(".", 1)))
    kinds = pa.schema([pa.field(n, pa.string()) for n in COLUMNS]).set(
        0, pa.field("order_id", pa.int64())
    )
    parts.connection.register("none", kinds.empty_table())
    parts.connection.execute("CREATE OR REPLACE TEMP TABLE rows AS SELECT * FROM none")
    with closing(connect(parts.settings.postgres)) as connection:
        with connection.cursor() as asked:
            asked.execute("SELECT to_regclass(%s) IS NOT NULL", (section.table,))
            if not (asked.fetchone() or (False,))[0]:
                raise TableMissing(
                    f"table {section.table}", "does not exist", "psql -f db/orders.sql"
                )
        with connection.cursor(name="verify", withhold=True) as cursor:
            cursor.execute(statement)
            while batch := cursor.fetchmany(FETCHED):
                columns = [
                    pa.array(c, f.type)
                    for c, f in zip(zip(*batch, strict=True), kinds, strict=True)
                ]
                parts.connection.register("batch", pa.table(columns, schema=kinds))
                parts.connection.execute("INSERT INTO rows SELECT * FROM batch")
    return count(parts.connection, "rows")


def _capture(parts: _Parts) -> Iterator[Check]:
    """The capture's state, and the slot that it reads."""
    settings, section = parts.settings, parts.settings.captured(NAME)
    again = f"lakehouse capture {NAME} --root {settings.lake.root}"
    state = read_state(state_path(settings.lake.root, NAME))
    if state is None:
        yield Check("capture", False, "nothing is captured yet", again)
        return
    detail = f"mode {state.mode}, snapshot {state.snapshot}, position {state.position}"
    done = state.snapshot == "done"
    if state.mode == "poll":
        detail += "; deletes are not seen"
    else:
        with closing(connect(settings.postgres)) as connection:
            slot = slot_of(connection, section.slot)
        limit = settings.postgres.wal_limit_mb * 2**20
        lost = slot is None or slot.wal_status == "lost"
        held = "is gone" if slot is None else f"holds {slot.held / 2**20:,.1f} MB of WAL"
        done = done and not lost and slot is not None and slot.held <= limit
        detail += f"; slot {section.slot} {held}"
        again += " --anew" if lost else ""
    yield Check("capture", done, detail, "" if done else again)


def _bronze(parts: _Parts) -> Iterator[Check]:
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
        f"{behind:,} of the topic not taken in", parts.fix if behind else "",
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


def _parquet(parts: _Parts) -> Iterator[Check]:
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


def _followers(parts: _Parts) -> Iterator[Check]:
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


def _equal(parts: _Parts) -> Iterator[Check]:
    """``orders_current`` against Postgres, row by row; keys that quarantine explains apart."""
    snapshots, connection = parts.snapshots, parts.connection
    if not snapshots.exists(CURRENT):
        raise TableMissing(f"table {CURRENT}", "does not exist yet", parts.fix)
    snapshots.pin("current", CURRENT)
    connection.execute(_HELD)
    different = {
        row["order_id"]: "both have it, other columns" if row["sides"] > 1 else row["side"]
        for row in query(connection, _DIFFERING).to_pylist()
    }
    explained = _latest_in_quarantine(connection) if different else {}
    odd = [{"order_id": k, "how": how} for k, how in different.items() if k not in explained]
    held = count(connection, "held")
    yield Check(
        "silver", not odd,
        f"{held:,} rows in {CURRENT}; {len(odd):,} differ from Postgres",
        f"lakehouse capture {NAME} --available-now, then {parts.fix}" if odd else "",
        tuple(odd[:SAMPLE]),
    )  # fmt: skip
    bad = [
        {"order_id": key, "how": how, "verdict": explained[key]}
        for key, how in different.items()
        if key in explained
    ]
    yield Check(
        "quarantined", True, f"{len(bad):,} orders whose latest change is in quarantine",
        first=tuple(bad),
    )  # fmt: skip


def _latest_in_quarantine(connection: duckdb.DuckDBPyConnection) -> dict[int, str]:
    """Orders whose latest change broke the contract, or may have: key → verdict."""
    known = query(connection, _LATEST).to_pydict()
    latest = dict(zip(known["order_id"], known["sequence"], strict=True))
    found: dict[int, tuple[str, str]] = {}
    for row in query(connection, "SELECT key, value, verdict FROM quarantine").to_pylist():
        key, order = _place(row["key"], row["value"])
        if key is not None and order > max(latest.get(key, ""), found.get(key, ("", ""))[0]):
            found[key] = (order, row["verdict"])
    return {key: verdict for key, (_, verdict) in found.items()}


def _place(key: bytes | None, value: bytes | None) -> tuple[int | None, str]:
    """A record's order_id, and its sequence; one that cannot be read comes after all."""
    try:
        number = json.loads(key or b"null")["order_id"]
    except (ValueError, TypeError, KeyError):
        number = None
    try:
        order = sortable(msgspec.json.decode(value or b"")["source"]["sequence"])
    except (ValueError, TypeError, KeyError, msgspec.MsgspecError):
        order = "~"
    return (number if isinstance(number, int) else None), order


def show(checks: list[Check]) -> None:
    """The checks as a table on stdout, and the first of what is odd below."""
    rows = [
        {"check": c.name, "": "ok" if c.ok else "FAILED", "found": c.detail, "fix": c.fix}
        for c in checks
    ]
    sys.stdout.write(render({"checks": pa.Table.from_pylist(rows)}, Format.table, 160))
    for check in checks:
        for row in check.first:
            told = ", ".join(f"{key} {value}" for key, value in row.items())
            sys.stdout.write(f"  {check.name}: {told}\n")
