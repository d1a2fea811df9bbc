"""What the silver tables of orders must hold, as SQL over bronze: the audit's own words.

Each statement reads ``counted``, the rows of bronze that are not duplicates, and is
written apart from the fold that makes the tables: it looks at all changes at once.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from lakehouse.model.recompute import WHOLE, Recompute, Recomputes
from lakehouse.model.witness import (
    Broken,
    Instant,
    Kind,
    Number,
    Raw,
    Witness,
    parse,
    parse_object,
)

COUNTED = "SELECT *, (order_id // 20000) % 256 AS block FROM bronze_then WHERE NOT is_duplicate"
_NOW = """
    SELECT DISTINCT order_id, customer_name, restaurant_name, item, amount, order_status,
        created_at, event_time AS changed_at, sequence, block
    FROM counted AS c
    WHERE op IN ('c', 'u', 'r') AND sequence = (
        SELECT max(later.sequence) FROM counted AS later
        WHERE later.order_id = c.order_id AND later.op <> 't'
    )
"""
CURRENT = _NOW
HISTORY = """
WITH steps AS (
    SELECT DISTINCT order_id, block, sequence, event_time,
        CASE op WHEN 'd' THEN 'deleted' ELSE order_status END AS order_status
    FROM counted WHERE op <> 't'
), counted_off AS (
    SELECT *, row_number() OVER (PARTITION BY order_id ORDER BY sequence) AS n,
        row_number() OVER (PARTITION BY order_id, order_status ORDER BY sequence) AS m
    FROM steps
), reached AS (
    SELECT a.order_id, a.n, max(b.event_time) AS started_at
    FROM counted_off AS a JOIN counted_off AS b ON a.order_id = b.order_id AND b.n <= a.n
    GROUP BY ALL
), islands AS (
    SELECT order_id, block, order_status, min(n) AS n,
        array_agg({'sequence': sequence, 'changed_at': event_time} ORDER BY sequence) AS changes
    FROM counted_off GROUP BY order_id, block, order_status, n - m
), timed AS (
    SELECT *, lead(started_at) OVER (PARTITION BY order_id ORDER BY n) AS ended_at
    FROM islands JOIN reached USING (order_id, n)
)
SELECT order_id, order_status, started_at, ended_at,
    CAST(epoch(ended_at - started_at) AS DECIMAL(18, 3)) AS duration_seconds, changes, block
FROM timed
"""
# Whole ten-thousandths, divided as whole numbers: half of one is rounded up.
_BY = """
WITH now AS ({now}), sums AS (
    SELECT {key},
        count(*) AS orders,
        count(*) FILTER (order_status = 'delivered') AS delivered,
        count(*) FILTER (order_status = 'cancelled') AS cancelled,
        CAST(sum(amount) AS DECIMAL(38, 4)) AS amount,
        CAST(coalesce(sum(amount) FILTER (order_status <> 'cancelled'), 0) AS DECIMAL(38, 4))
            AS revenue
    FROM now GROUP BY ALL
)
SELECT *, CAST(CAST(
    {whole} // orders
    + CASE WHEN 2 * ({whole} % orders) >= orders THEN 1 ELSE 0 END
    AS DECIMAL(38, 0)) * 0.0001 AS DECIMAL(38, 4)) AS average_order
FROM sums
"""


def _by(key: str) -> str:
    return _BY.format(now=_NOW, key=key, whole=WHOLE.format("amount"))


TABLES = (
    Recompute("by_restaurant", ("restaurant_name",), _by("restaurant_name")),
    Recompute("by_item", ("item",), _by("item")),
    Recompute("by_day", ("order_date",), _by("CAST(created_at AS DATE) AS order_date")),
    Recompute("history", ("order_id", "started_at"), HISTORY, by="order_id"),
    Recompute("current", ("order_id",), CURRENT, by="order_id"),
)
"""Every silver table of orders."""

_ROW = {
    "customer_name": Kind.TEXT, "restaurant_name": Kind.TEXT, "item": Kind.TEXT,
    "amount": Kind.MONEY, "order_status": Kind.TEXT, "created_at": Kind.TIME,
}  # fmt: skip
_CHANGE = {
    "event_id": Kind.TEXT, "event_time": Kind.TIME, "op": Kind.TEXT, "sequence": Kind.TEXT,
    "lsn": Kind.WHOLE, "xid": Kind.WHOLE, "before": Kind.JSON,
}  # fmt: skip
_AMOUNT = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def _event(record: Raw) -> dict[str, Any]:
    """The change in a Debezium envelope, or a tombstone, as one flat object."""
    if record.value is None:
        return _tombstone(record)
    envelope = parse_object(record.value)
    source, before, after = (envelope.get(name) for name in ("source", "before", "after"))
    op = envelope.get("op")
    if not isinstance(source, dict) or op not in ["c", "u", "d", "r"]:
        raise Broken("no envelope of a change")
    if envelope.get("oversized") is not None:
        raise Broken("only the mark of a change that was too large")
    row = before if op == "d" else after
    if not isinstance(row, dict) or not isinstance(row.get("order_id"), Number):
        raise Broken("'order_id' is missing")
    order = _order(source.get("sequence"))
    flat: dict[str, Any] = {"order_id": row["order_id"]}
    if op != "d":
        if lacking := _ROW.keys() - row.keys():
            raise Broken(f"{sorted(lacking)[0]!r} is missing")
        flat = {(f"after.{name}" if name in _CHANGE else name): row[name] for name in row}
        if isinstance(flat["amount"], str) and _AMOUNT.fullmatch(flat["amount"]):
            flat["amount"] = Number(flat["amount"])
    return flat | {
        "event_id": f"{row['order_id']}@{order}", "event_time": _millis(source.get("ts_ms")),
        "op": op, "sequence": order, "lsn": source.get("lsn"), "xid": source.get("txId"),
        "before": before,
    }  # fmt: skip


def _tombstone(record: Raw) -> dict[str, Any]:
    """A null value says again that its key is deleted."""
    key = parse_object(record.key).get("order_id")
    if not isinstance(key, Number):
        raise Broken("the key names no order")
    said = [value for name, value in record.headers if name == "sequence" and value]
    order = _order(said[0].decode("utf-8", "replace")) if said else None
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=record.time)
    return {
        "order_id": key, "op": "t", "sequence": order, "event_time": Instant(record.time * 1000),
        "event_id": f"{key}@{order or time.isoformat()}#",
    }  # fmt: skip


def _millis(value: Any) -> Instant:
    if not isinstance(value, Number) or len(value) > 20 or not value.lstrip("-").isdecimal():
        raise Broken("'ts_ms' is no whole number")
    if not abs(int(value)) < 10**15:
        raise Broken("'ts_ms' is no time")
    return Instant(int(value) * 1000)


def _order(text: Any) -> str:
    """The source's sequence, each number padded so that the text sorts."""
    numbers = parse(text) if type(text) is str else None
    if not isinstance(numbers, list) or not all(n is None or type(n) is str for n in numbers):
        raise Broken("'sequence' is no list of numbers as text")
    return "-".join((n or "0").zfill(20) for n in numbers)


WITNESS = Witness(
    {"order_id": Kind.WHOLE, **_ROW, **_CHANGE},
    frozenset({"event_id", "event_time", "op", "order_id"}),
    _event,
)
"""What a record of orders says: bronze's own columns, in the audit's words."""

RECOMPUTES = {"orders": Recomputes(COUNTED, TABLES, WITNESS)}
