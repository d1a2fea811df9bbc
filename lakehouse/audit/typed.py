"""A table's rows with every column that its schema declares, each of the type declared now."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core.sql import identifier, listed
from lakehouse.storage.duck import scan

_DECLARED: dict[pa.Schema, dict[str, str]] = {}
"""Schema of a table → its columns' types, as DuckDB names them: asked once a process."""


class Typed:
    """FROM items over tables' files: a file may lack a column, or have it of an older type."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def source(self, view: str, table: DeltaTable, schema: pa.Schema, files: list[str]) -> str:
        """A FROM item that has every column of the table, also where no file has it yet.

        Each is of the type that the table's schema gives it now, as its readers see it.
        """
        if not files:
            return self._empty(view, schema)
        source, columns = scan(table, files), listed(schema.names)
        try:
            held = self.types(f"SELECT {columns} FROM {source}")
        except duckdb.BinderException:
            self.types(f"SELECT * FROM {source}")  # raises where a file's name is no text
            none = self._empty(view, schema)
            source = f"(SELECT * FROM {source} UNION ALL BY NAME SELECT * FROM {none})"
            held = self.types(f"SELECT {columns} FROM {source}")
        other = self.declared(view, schema).items() - held.items()
        if not other:
            return source
        cast = ", ".join(
            f"CAST({identifier(name)} AS {kind}) AS {identifier(name)}"
            for name, kind in sorted(other)
        )
        return f"(SELECT * REPLACE ({cast}) FROM {source})"

    def declared(self, view: str, schema: pa.Schema) -> dict[str, str]:
        """The types of a table's columns, as DuckDB names them."""
        if schema not in _DECLARED:
            none = self._empty(view, schema)
            _DECLARED[schema] = self.types(f"SELECT {listed(schema.names)} FROM {none}")
        return _DECLARED[schema]

    def _empty(self, view: str, schema: pa.Schema) -> str:
        """The name of a table that has these columns, and no row."""
        self._connection.register(f"no_{view}", schema.empty_table())
        return identifier(f"no_{view}")

    def types(self, select: str) -> dict[str, str]:
        """Column → type of what a SELECT, or a view, gives."""
        rows = self._connection.execute(f"DESCRIBE {select}").fetchall()
        return {row[0]: row[1] for row in rows}
