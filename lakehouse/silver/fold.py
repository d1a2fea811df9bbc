"""One aggregate of silver: what new rows add to it, its queries planned once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.model.flow import Aggregate
from lakehouse.silver.render import merged_sql, partial_sql
from lakehouse.storage.duck import Prepared, Source, reading
from lakehouse.storage.table import Table


class Fold:
    """Adds the rows of its sources to a table; see :mod:`lakehouse.silver.render`."""

    def __init__(
        self,
        aggregate: Aggregate,
        table: Table,
        connection: duckdb.DuckDBPyConnection,
        sources: Mapping[str, Source],
    ) -> None:
        self.aggregate, self.table = aggregate, table
        self._cursor = reading(connection, sources)
        self._partial = Prepared(self._cursor, partial_sql(aggregate))
        self._merged = Prepared(self._cursor, merged_sql(aggregate))
        self._old = Source(table.schema)
        self._cursor.register(f"old_{aggregate.name}", self._old)
        self._part: Source | None = None

    def run(self, note: Mapping[str, Any]) -> None:
        """Replace the partitions that new rows touch, in one commit that carries ``note``."""
        part = self._partial()
        if self._part is None:  # only the plan knows its columns
            self._part = Source(part.schema)
            self._cursor.register(f"part_{self.aggregate.name}", self._part)
        self._part.put(part)
        folders, predicate = self._touched(part)
        self._old.put(self.table.rows(folders))
        rows = self._merged()
        self._part.clear()
        self._old.clear()
        if part.num_rows == 0 and rows.num_rows == 0:
            self.table.append(self.table.schema.empty_table(), note)
        else:
            self.table.replace(rows.cast(self.table.schema), predicate, note)

    def _touched(self, part: pa.Table) -> tuple[list[str] | None, str | None]:
        """The partitions that new rows touch, and their predicate; None for all."""
        if not (key := self.aggregate.partition):
            return None, None
        values = sorted(str(value) for value in pc.unique(part[key]).to_pylist())
        listed = ", ".join(f"'{value}'" for value in values)
        return [f"{key}={value}" for value in values], f"{key} IN ({listed})"
