"""One moment of the table in Postgres: checksums by chunks of the key, and single rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Cursor, IsolationLevel, sql

from lakehouse.core.errors import TableMissing
from lakehouse.settings.postgres_client import connect
from lakehouse.settings.sections import PostgresSettings

CHUNK = 50_000
CELLS = {
    "customer_name": "customer_name::text",
    "restaurant_name": "restaurant_name::text",
    "item": "item::text",
    "amount": "trim_scale(amount::numeric)::text",
    "order_status": "order_status::text",
    "created_at": "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')",
}
"""Column → its text, the same as :mod:`lakehouse.products.orders.against.lake` makes of bronze."""
_ROW = "order_id::text" + "".join(
    f" || coalesce(char_length({cell})::text || ':' || {cell}, '-')" for cell in CELLS.values()
)
_CHUNK = f"""
SELECT count(*), max(order_id), coalesce(sum(('x' || left(hash, 15))::bit(60)::bigint), 0)
FROM (SELECT order_id, md5(convert_to({_ROW}, 'UTF8')) AS hash FROM ONLY {{table}}
      WHERE order_id BETWEEN %s::bigint AND %s::bigint ORDER BY order_id LIMIT {CHUNK}) AS chunk
"""
_HASHES = f"""
SELECT order_id, ('x' || left(md5(convert_to({_ROW}, 'UTF8')), 15))::bit(60)::bigint
FROM ONLY {{table}} WHERE order_id BETWEEN %s::bigint AND %s::bigint
"""
_CELLS = f"""
SELECT order_id, {", ".join(CELLS.values())},
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint - age(xmin)
FROM ONLY {{table}} WHERE order_id = ANY(%s::bigint[])
"""
_MOMENT = """
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, pg_snapshot_xmax(s)::text::bigint,
    ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(s) x) FROM pg_current_snapshot() s
"""
FIRST, LAST = -(2**63), 2**63 - 1
"""The least and the greatest key that there can be."""


@dataclass(frozen=True)
class Row:
    """A row as texts, and the transaction that wrote it."""

    cells: tuple[str | None, ...]
    xid: int


@dataclass(frozen=True)
class Moment:
    """The table as one snapshot sees it, for as long as it is held."""

    connection: Any
    name: sql.Composable
    lsn: int
    xmax: int
    """The first transaction that it cannot see."""
    still_open: tuple[int, ...]
    """Those below that it cannot see either."""

    def chunks(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Keys from, keys up to, rows, checksum: all keys of a range, in their order."""
        while True:
            count, last, total = self._ask(_CHUNK, start, end)[0]
            if count < CHUNK or last == end:
                yield start, end, count, int(total)
                return
            yield start, last, count, int(total)
            start = last + 1

    def hashes(self, start: int, last: int) -> dict[int, int]:
        """Key → checksum of its row."""
        return dict(self._ask(_HASHES, start, last))

    def rows(self, keys: Sequence[int]) -> dict[int, Row]:
        """Key → its row; without keys that the table does not have."""
        return {key: Row(tuple(cells), xid) for key, *cells, xid in self._ask(_CELLS, [*keys])}

    def _ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            found: Cursor[Any] = cursor.execute(sql.SQL(statement).format(table=self.name), values)
            return found.fetchall()


@contextmanager
def moment(postgres: PostgresSettings, table: str) -> Iterator[Moment]:
    """The table as it is now, in one snapshot; writers go on."""
    with connect(postgres) as connection:
        connection.autocommit, connection.read_only = False, True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() == (None,):
            raise TableMissing(f"table {table}", "does not exist", "psql -f db/orders.sql")
        lsn, xmax, still_open = connection.execute(_MOMENT).fetchone() or (0, 0, [])
        name = sql.Identifier(*table.split(".", 1))
        yield Moment(connection, name, lsn, xmax, tuple(still_open))
