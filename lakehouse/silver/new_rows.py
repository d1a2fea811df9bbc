"""The rows of one increment, where the folds of a flow read them."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.model.flow import SilverFlow
from lakehouse.storage.duck import BY_NAME, patterns, query, reads
from lakehouse.storage.increments import Increment
from lakehouse.storage.prepared import Source


class NewRows:
    """One increment at a time, its duplicates left out, without copies."""

    def __init__(self, flow: SilverFlow, connection: duckdb.DuckDBPyConnection) -> None:
        schema = flow.contract.schema.append(pa.field("is_late", pa.bool_()))
        self._columns, self._names = schema.names, ", ".join(schema.names)
        self.source = Source(schema)
        self._connection = connection.cursor()

    def put(self, step: Increment) -> None:
        """Replace the rows by an increment's, read from its files where they are not at hand."""
        self.source.clear()
        if step.rows is not None:
            rows, doubled = step.rows.select(self._columns), step.rows["is_duplicate"]
            self.source.put(rows.filter(pc.invert(doubled)) if pc.any(doubled).as_py() else rows)
        elif step.files:
            self.source.put(self._read(step.files))

    def newest_watermark(self, step: Increment) -> int | None:
        """The greatest that an increment's rows were marked by, in microseconds since 1970.

        A delay that was raised since lowers none.
        """
        if step.rows is not None:
            newest = pc.max(step.rows["watermark"]).cast(pa.int64())
            return newest.as_py()  # type: ignore[no-any-return]  # a number, or None
        if not step.files:
            return None
        sql = f"SELECT epoch_us(max(watermark)) FROM {reads(step.files, BY_NAME)}"
        [(found,)] = self._connection.execute(sql).fetchall()
        return found  # type: ignore[no-any-return]  # likewise

    def _read(self, files: Sequence[str]) -> pa.Table:
        return query(
            self._connection,
            f"SELECT {self._names} FROM (FROM read_parquet($files, hive_partitioning=false, "
            "union_by_name=true) WHERE NOT is_duplicate UNION ALL BY NAME FROM rows)",
            {"files": patterns(files)},
            rows=self.source.rows,
        )
