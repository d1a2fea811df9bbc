"""What bronze says that the table held at a moment of the database: key → row, and checksums."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from lakehouse.audit.pins import count
from lakehouse.core.sql import identifier
from lakehouse.products.orders.against.table import CELLS, FIRST, LAST, Moment
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
    FROM bronze_now WHERE op <> 't' AND NOT is_duplicate AND {only}
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
AT_ONCE = 1_000_000
"""Changes whose latest are worked out together: ten million at once took more than 3 GB."""
_SAMPLE = "SELECT order_id FROM bronze_now USING SAMPLE reservoir(10000 ROWS) REPEATABLE (1)"


def parts(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, int]]:
    """Ranges of keys, together all that there can be, each of about :data:`AT_ONCE` changes."""
    wanted = -(-count(connection, "bronze_now") // AT_ONCE)
    keys = sorted(key for (key,) in connection.execute(_SAMPLE).fetchall())
    ends = sorted({keys[len(keys) * n // wanted] for n in range(1, wanted)} - {LAST})
    return [*zip([FIRST, *(end + 1 for end in ends)], [*ends, LAST], strict=True)]


def between(start: int, last: int) -> str:
    """The condition that a key is in a range."""
    return f"order_id BETWEEN {start} AND {last}"


def among(keys: Sequence[int]) -> str:
    """The condition that it is one of these."""
    return f"order_id IN ({', '.join(map(str, keys)) or 'NULL'})"


def state_then(connection: duckdb.DuckDBPyConnection, moment: Moment, name: str, only: str) -> None:
    """Make the table of the rows that the view ``bronze_now`` knows at the moment.

    It is the latest change of each key, of those that the condition ``only`` takes and whose
    transaction the moment's snapshot sees. Rows that a snapshot of the capture read have no
    transaction: they are older than any.
    """
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
