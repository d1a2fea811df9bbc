"""The table in Postgres: read whole, its capture, and silver against it, row by row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import duckdb
import msgspec
import psycopg
import pyarrow as pa
from psycopg import sql

from lakehouse.audit.pins import count
from lakehouse.core.errors import TableMissing
from lakehouse.core.paths import root_option
from lakehouse.model.change import sortable
from lakehouse.model.flow import SilverFlow
from lakehouse.products.orders.contract import NAME
from lakehouse.products.orders.tables import FLOWS
from lakehouse.products.orders.verify.check import Check, Parts
from lakehouse.settings.postgres_client import connect, slot_of, unavailable
from lakehouse.storage.duck import lent, query
from producers.cdc.state import read_state, state_path

SAMPLE = 10
FETCHED = 20_000
"""Rows that are read from Postgres at a time."""
SILVER = next(flow for flow in FLOWS if isinstance(flow, SilverFlow))
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


def postgres_checks(parts: Parts) -> Iterator[Check]:
    """Read the table whole, as text, into ``rows``."""
    try:
        held = _read_table(parts)
    except psycopg.Error as error:
        raise unavailable(parts.settings.postgres, error) from None
    table = parts.settings.captured(NAME).table
    yield Check("postgres", True, f"{held:,} rows in {table}")


def _read_table(parts: Parts) -> int:
    section = parts.settings.captured(NAME)
    statement = sql.SQL(_POSTGRES).format(table=sql.Identifier(*section.table.split(".", 1)))
    kinds = pa.schema([pa.field(n, pa.string()) for n in COLUMNS]).set(
        0, pa.field("order_id", pa.int64())
    )
    with lent(parts.connection, none=kinds.empty_table()):
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
                with lent(parts.connection, batch=pa.table(columns, schema=kinds)):
                    parts.connection.execute("INSERT INTO rows SELECT * FROM batch")
    return count(parts.connection, "rows")


def capture_checks(parts: Parts) -> Iterator[Check]:
    """The capture's state, and the slot that it reads."""
    settings, section = parts.settings, parts.settings.captured(NAME)
    again = f"lakehouse capture {NAME} {root_option(settings.lake.root)}"
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


def silver_checks(parts: Parts) -> Iterator[Check]:
    """``orders_current`` against Postgres, row by row; keys that quarantine explains apart."""
    snapshots, connection = parts.snapshots, parts.connection
    if not snapshots.exists(CURRENT):
        raise TableMissing(f"table {CURRENT}", "does not exist yet", parts.fix)
    snapshots.pin("current", CURRENT)
    for layer in ("bronze", "quarantine"):
        snapshots.pin(layer, f"{layer}.{NAME}")
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
