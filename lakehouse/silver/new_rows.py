"""The rows of one increment, where the folds of a flow read them."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.model.flow import SilverFlow
from lakehouse.storage.duck import Source, patterns, query, reading
from lakehouse.storage.increments import Increment


class NewRows:
    """One increment at a time, its duplicates left out, without copies."""

    def __init__(self, flow: SilverFlow, connection: duckdb.DuckDBPyConnection) -> None:
        self._names = ", ".join(flow.contract.schema.names)
        self.source = Source(flow.contract.schema)
        self._reader = reading(connection, {"rows": self.source})

    def put(self, step: Increment) -> None:
        """Put an increment's rows in the place of those before; from its files where need be."""
        self.source.clear()
        if step.rows is not None:
            self.source.put(step.rows.filter(pc.invert(step.rows["is_duplicate"])))
        elif step.files:
            self.source.put(self._read(step.files))

    def _read(self, files: Sequence[str]) -> pa.Table:
        return query(
            self._reader,
            f"SELECT {self._names} FROM (FROM read_parquet($files, hive_partitioning=false, "
            "union_by_name=true) WHERE NOT is_duplicate UNION ALL BY NAME FROM rows)",
            {"files": patterns(files)},
        )
