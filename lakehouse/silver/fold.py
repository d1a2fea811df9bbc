"""One aggregate: computes what new rows add to it, and merges that into its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.model.flow import Aggregate
from lakehouse.model.window import START
from lakehouse.silver.keys import MOST_OF_A_TIME, bucket_hashes, moment_hashes
from lakehouse.silver.latest import GONE
from lakehouse.silver.render import delta_schema, delta_sql, merged_sql
from lakehouse.silver.sketch import with_sketches
from lakehouse.storage.buckets import Buckets, Written
from lakehouse.storage.prepared import Prepared, Source
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
        self.key = tuple(keys)

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

    def published(
        self, rows: pa.Table, note: Mapping[str, Any], pause: Callable[[], None] | None = None
    ) -> tuple[Written, pa.Table]:
        """As :meth:`publish`, with what the keys of these rows have then.

        These are rows of the table, and GONE: true of keys that have none.
        """
        table, key = self.table, [*self.key]
        changed = [_of_keys(table.schema.empty_table(), rows[:0], key)]

        def merge(new: pa.Table, old: pa.Table) -> pa.Table:
            made = self._merge(new, old).select(table.schema.names).cast(table.schema)
            changed.append(_of_keys(made, new, key))
            return made

        return self.files.write(rows, merge, note, pause), pa.concat_tables(changed)

    def _merge(self, new: pa.Table, old: pa.Table) -> pa.Table:
        self._new.put(new)
        self._old.put(old)
        rows = self._merged()
        self._new.clear()
        self._old.clear()
        return rows


def _of_keys(rows: pa.Table, new: pa.Table, key: list[str]) -> pa.Table:
    """The rows of the keys that are in ``new``, and GONE."""
    kinds = pa.schema([rows.schema.field(name) for name in key])
    touched = new.select(key).group_by(key, use_threads=False).aggregate([])
    touched = touched.select(key).cast(kinds)
    numbered = rows.select(key).append_column(PLACE, pa.array(range(rows.num_rows), pa.int64()))
    there = rows.take(numbered.join(touched, key, join_type="left semi", use_threads=False)[PLACE])
    gone = touched.join(rows.select(key), key, join_type="left anti", use_threads=False)
    both = [
        part.append_column(GONE, pa.repeat(pa.scalar(is_gone), part.num_rows))
        for part, is_gone in ((there, False), (gone, True))
    ]
    fields = [*(field.with_nullable(True) for field in rows.schema), pa.field(GONE, pa.bool_())]
    found = pa.concat_tables(both, promote_options="default")
    return found.select([field.name for field in fields]).cast(pa.schema(fields))
