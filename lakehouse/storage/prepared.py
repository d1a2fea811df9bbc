"""Queries that are planned once, over rows that change: a batch costs the work, not the plan."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import duckdb
import pyarrow as pa

_NUMBERS = itertools.count()


class Source:
    """Rows under a name in SQL that change: a prepared statement reads those of the moment."""

    def __init__(self, schema: pa.Schema) -> None:
        self._rows = schema.empty_table()

    def put(self, rows: pa.Table) -> None:
        """Rows that have the columns of the schema, among others perhaps."""
        self._rows = rows.select(self._rows.schema.names).cast(self._rows.schema)

    def clear(self) -> None:
        """No rows."""
        self._rows = self._rows.slice(0, 0)

    def __arrow_c_schema__(self) -> object:
        return self._rows.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._rows.__arrow_c_stream__(requested_schema)


class Prepared:
    """A query that is planned once: on a small batch planning takes longer than the work.

    ``sources`` are read by name, on a connection of its own. Planned when it is first asked: a
    process that only opens tables, as a verb does, plans and names nothing. Whatever it reads
    must keep its name and columns; see :class:`Source`.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        sql: str,
        sources: Mapping[str, Source] | None = None,
    ) -> None:
        self._sql, self._sources, self._name = sql, sources or {}, ""
        self._connection = connection.cursor() if sources else connection

    def __call__(self) -> pa.Table:
        """The rows at hand now."""
        if not self._name:
            for given, source in self._sources.items():
                self._connection.register(given, source)
            name = f"prepared_{next(_NUMBERS)}"
            self._connection.execute(f"PREPARE {name} AS {self._sql}")
            self._name = name
        return self._connection.execute(f"EXECUTE {self._name}").to_arrow_table()

    def close(self) -> None:
        """Forget the plan: the connection would keep it."""
        if self._name:
            self._connection.execute(f"DEALLOCATE {self._name}")
            self._name = ""


def reading(
    connection: duckdb.DuckDBPyConnection, sources: Mapping[str, Source]
) -> duckdb.DuckDBPyConnection:
    """A connection of its own to the same database, in which these names are read."""
    cursor = connection.cursor()
    for given, source in sources.items():
        cursor.register(given, source)
    return cursor
