"""One aggregate: computes what new rows add to it, and merges that into its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.model.flow import Aggregate
from lakehouse.model.window import START
from lakehouse.silver.keys import MOST_OF_A_TIME, bucket_hashes, moment_hashes
from lakehouse.silver.render import delta_schema, delta_sql, merged_sql
from lakehouse.silver.sketch import with_sketches
from lakehouse.storage.buckets import Buckets, Written
from lakehouse.storage.duck import Prepared, Source
from lakehouse.storage.table import Table

PLACE = "place"
"""Column with the order of deltas."""


class Fold:
    """Makes deltas from its source rows and merges them; its queries are planned only once."""

    def __init__(
        self,
        aggregate: Aggregate,
        table: Table,
        connection: duckdb.DuckDBPyConnection,
        sources: Mapping[str, Source],
    ) -> None:
        self.aggregate, self.table = aggregate, table
        self.schema = delta_schema(aggregate)
        most, keys = table.settings.silver.bucket_rows, [*aggregate.keys]
        if aggregate.window:
            hashes = moment_hashes(START, keys)
            self.files = Buckets(table, min(most, MOST_OF_A_TIME), hashes)
        else:
            self.files = Buckets(table, most, bucket_hashes(keys))
        name, placed = aggregate.name, self.schema.append(pa.field(PLACE, pa.int64()))
        if any(m.type == "BLOB" for m in aggregate.measures.values()):
            with_sketches(connection)
        self._delta = Prepared(connection, delta_sql(aggregate), sources)
        self._new, self._old = Source(placed), Source(table.schema)
        merging = {f"delta_{name}": self._new, f"old_{name}": self._old}
        self._merged = Prepared(connection, merged_sql(aggregate), merging)

    def delta(self) -> pa.Table:
        """What the current rows add."""
        return self._delta().select(self.schema.names).cast(self.schema)

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return self.files.rows

    def publish(
        self, rows: pa.Table, note: Mapping[str, Any], pause: Callable[[], None] | None = None
    ) -> Written:
        """Merge deltas, which have a column PLACE, into the table in one commit.

        A thread of its own may do it beside :meth:`delta`.
        """
        return self.files.write(rows, self._merge, note, pause)

    def _merge(self, new: pa.Table, old: pa.Table) -> pa.Table:
        self._new.put(new)
        self._old.put(old)
        rows = self._merged()
        self._new.clear()
        self._old.clear()
        return rows
