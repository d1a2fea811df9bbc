"""Tables of state as they are published: the pending rows of several batches, merged at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from lakehouse.model.flow import UNITS, Keyed
from lakehouse.model.window import Session
from lakehouse.silver.fold import PLACE
from lakehouse.silver.keys import MOST_OF_A_TIME, bucket_hashes, moment_hashes
from lakehouse.silver.latest import GONE, left_schema
from lakehouse.silver.sessions import left_schema as session_left_schema
from lakehouse.storage.buckets import Buckets, Written
from lakehouse.storage.duck import query
from lakehouse.storage.table import Table


class Published(Protocol):
    """A table published in turns. Pending rows have ``schema``, and also PLACE when published."""

    table: Table
    schema: pa.Schema

    @property
    def rows(self) -> int:
        """How many rows one turn may have to rewrite."""

    def publish(
        self, rows: pa.Table, note: Mapping[str, Any], pause: Callable[[], None] | None = None
    ) -> Written:
        """Merge pending rows into the table in one commit that carries ``note``.

        ``pause`` is called before each slice.
        """


class Appended:
    """A table of distinct keys: pending rows are appended."""

    def __init__(self, table: Table) -> None:
        self.table, self.schema = table, table.schema

    @property
    def rows(self) -> int:
        """0: rows that are there stay where they are."""
        return 0

    def publish(
        self, rows: pa.Table, note: Mapping[str, Any], pause: Callable[[], None] | None = None
    ) -> Written:
        """As :class:`Published`."""
        if pause:
            pause()
        self.table.append(rows.select(self.schema.names).cast(self.schema), note)
        return Written(rows.num_rows, rows.nbytes)


class Merged:
    """A table in buckets whose pending rows are merged by SQL over ``new`` and ``old``."""

    def __init__(
        self,
        files: Buckets,
        schema: pa.Schema,
        sql: str,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self.table, self.schema, self.files = files.table, schema, files
        self._connection, self._sql = connection, sql

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return self.files.rows

    def publish(
        self, rows: pa.Table, note: Mapping[str, Any], pause: Callable[[], None] | None = None
    ) -> Written:
        """As :class:`Published`."""
        return self.files.write(rows, self._merge, note, pause)

    def _merge(self, new: pa.Table, old: pa.Table) -> pa.Table:
        return query(self._connection, self._sql, new=new, old=old)


def units_table(table: Table, connection: duckdb.DuckDBPyConnection) -> Merged:
    """A table of units, whose pending rows are added up."""
    keys = [name for name in table.schema.names if name != "units"]
    listed = ", ".join([*keys, "units"])
    sql = (
        f"SELECT {', '.join(keys)}, CAST(sum(units) AS {UNITS}) AS units FROM "
        f"(SELECT {listed} FROM new UNION ALL SELECT {listed} FROM old) GROUP BY ALL"
    )
    return Merged(_by_key(table, keys), table.schema, sql, connection)


def session_table(session: Session, table: Table, connection: duckdb.DuckDBPyConnection) -> Merged:
    """A table of sessions: the last row that batches left for a key and start is there, or gone."""
    keys, listed = [session.key, "session_start"], ", ".join(table.schema.names)
    named = ", ".join(keys)
    sql = (
        f"SELECT {listed} FROM old ANTI JOIN new USING ({named}) UNION ALL "
        f"SELECT {listed} FROM (FROM new "
        f"QUALIFY row_number() OVER (PARTITION BY {named} ORDER BY {PLACE} DESC) = 1) "
        f"WHERE NOT {GONE}"
    )
    most = min(table.settings.silver.bucket_rows, MOST_OF_A_TIME)
    files = Buckets(table, most, moment_hashes("session_start", keys))
    return Merged(files, session_left_schema(session), sql, connection)


def keyed_table(
    keyed: Keyed, name: str, table: Table, connection: duckdb.DuckDBPyConnection
) -> Merged:
    """A table of latest changes: what the last batch left for a key replaces its rows."""
    listed = ", ".join(table.schema.names)
    there = f"WHERE NOT {GONE}" if name == keyed.current else ""
    sql = (
        f"SELECT {listed} FROM old ANTI JOIN new USING ({keyed.key}) UNION ALL "
        f"SELECT {listed} FROM (FROM new SEMI JOIN (SELECT {keyed.key}, max({PLACE}) AS {PLACE} "
        f"FROM new GROUP BY ALL) USING ({keyed.key}, {PLACE})) {there}"
    )
    return Merged(_by_key(table, [keyed.key]), left_schema(keyed, name), sql, connection)


def _by_key(table: Table, keys: list[str]) -> Buckets:
    return Buckets(table, table.settings.silver.bucket_rows, bucket_hashes(keys))
