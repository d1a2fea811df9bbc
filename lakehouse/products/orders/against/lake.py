"""What bronze says that the table held at a moment of the database: key → row, and checksums."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from lakehouse.core.sql import identifier
from lakehouse.products.orders.against.table import CELLS, Moment
from lakehouse.storage.duck import query

_TEXTS = {
    **{name: name for name in CELLS},
    "amount": "rtrim(rtrim(CAST(amount AS VARCHAR), '0'), '.')",
    "created_at": "strftime(created_at AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M:%S.%f')",
}
_ROW = "CAST(order_id AS VARCHAR)" + "".join(
    f" || coalesce(CAST(length({name}) AS VARCHAR) || ':' || {name}, '-')" for name in CELLS
)
_THEN = """
CREATE OR REPLACE TEMP TABLE "{name}" AS
WITH told AS (
    SELECT *, CASE WHEN xid < 4294967296
        THEN xid + ((CAST({xmax} AS HUGEINT) + 2147483648 - xid) // 4294967296) * 4294967296
        ELSE xid END AS full_xid
    FROM bronze_now WHERE op <> 't' AND NOT is_duplicate{only}
), latest AS (
    SELECT order_id, max(sequence) AS place, arg_max(struct_pack(op, {columns}), sequence) AS row
    FROM told WHERE full_xid IS NULL OR full_xid < {xmax} AND full_xid NOT IN ({still_open})
    GROUP BY order_id
), texts AS (
    SELECT order_id, place, {texts}
    FROM (SELECT order_id, place, unnest(row) FROM latest) WHERE op <> 'd'
)
SELECT *, CAST('0x' || left(md5({row}), 15) AS BIGINT) AS hash FROM texts ORDER BY order_id
"""
_RANGE = 'FROM "then" WHERE order_id BETWEEN ? AND ?'


def state_then(
    connection: duckdb.DuckDBPyConnection,
    moment: Moment,
    name: str = "then",
    keys: Sequence[int] | None = None,
) -> None:
    """Make the table of the rows that the view ``bronze_now`` knows at the moment.

    It is the latest change of each key of those whose transaction the moment's snapshot sees.
    Rows that a snapshot of the capture read have no transaction: they are older than any.
    """
    only = "" if keys is None else f" AND order_id IN ({', '.join(map(str, keys)) or 'NULL'})"
    connection.execute(
        _THEN.format(
            name=name, only=only, xmax=moment.xmax, columns=", ".join(CELLS),
            still_open=", ".join(map(str, (-1, *moment.still_open))), row=_ROW,
            texts=", ".join(f"{text} AS {column}" for column, text in _TEXTS.items()),
        )
    )  # fmt: skip


def sums(connection: duckdb.DuckDBPyConnection, start: int, last: int) -> tuple[int, int]:
    """How many rows there are in a range of keys, and the sum of their checksums."""
    found = connection.execute(
        f"SELECT count(*), coalesce(sum(hash), 0) {_RANGE}", (start, last)
    ).fetchall()
    return int(found[0][0]), int(found[0][1])


def hashes(connection: duckdb.DuckDBPyConnection, start: int, last: int) -> dict[int, int]:
    """Key → checksum of its row."""
    return dict(connection.execute(f"SELECT order_id, hash {_RANGE}", (start, last)).fetchall())


def rows(
    connection: duckdb.DuckDBPyConnection, name: str, keys: Sequence[int]
) -> dict[int, tuple[str, tuple[str | None, ...]]]:
    """Key → place of its latest change, and its row as texts."""
    wanted = ", ".join(map(str, keys)) or "NULL"
    found = query(
        connection, f'SELECT order_id, place, {", ".join(CELLS)} FROM {identifier(name)} '
        f"WHERE order_id IN ({wanted})",
    ).to_pylist()  # fmt: skip
    return {row["order_id"]: (row["place"], tuple(row[c] for c in CELLS)) for row in found}
