"""Bronze's rows as an enriched topic gets them: keys and values, by SQL over an increment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa

from lakehouse.core.sql import identifier
from lakehouse.ingest.schemas import bronze_schema
from lakehouse.model.sink import KafkaSink
from lakehouse.silver.fold import PLACE
from lakehouse.silver.handed import Piece, last
from lakehouse.silver.latest import GONE
from lakehouse.sinks.kafka_records import columns_of, event_of
from lakehouse.sinks.versions import Versions, reaching, rows_of
from lakehouse.storage.duck import reads
from lakehouse.storage.increments import Increment

Rows = tuple[list[str | None], list[bytes]]
"""Keys and values of as many rows."""
_AT_ONCE = 5_000


class Rendering:
    """A sink's rows, made by SQL; what types they have is asked once."""

    def __init__(self, sink: KafkaSink) -> None:
        self._sink = sink
        self._kinds: dict[str, str] = {}

    def of(
        self,
        states: Mapping[str, Versions | Piece],
        own: duckdb.DuckDBPyConnection,
        step: Increment,
        which: str = "",
    ) -> Iterator[Rows]:
        """Keys and values of an increment's rows, some at a time, in the order of addresses.

        ``states`` are the tables that they are joined with, by the sink's names, or what folds
        left of them; ``which`` is SQL that follows the rows of bronze, and leaves some out.
        """
        enriched = _enriched(self._sink, states, own, step, which)
        if not self._kinds:
            told = own.execute(f"DESCRIBE {enriched} FROM enriched").fetchall()
            self._kinds = {row[0]: row[1] for row in told}
        ready = own.sql(
            f"{enriched} SELECT _key, concat(_event, {columns_of(self._sink, self._kinds)}) "
            "AS value FROM enriched ORDER BY _partition, _offset"
        )
        for batch in ready.to_arrow_reader(_AT_ONCE):
            yield batch.column(0).to_pylist(), batch.column(1).cast(pa.binary()).to_pylist()


def _enriched(
    sink: KafkaSink,
    states: Mapping[str, Versions | Piece],
    own: duckdb.DuckDBPyConnection,
    step: Increment,
    which: str,
) -> str:
    """SQL before a FROM: an increment's rows as ``enriched``, joined with what they want."""
    own.register("no_rows", bronze_schema(sink.contract).empty_table())
    found = "no_rows"
    if step.files:
        found = reads(step.files, "hive_partitioning = false, union_by_name = true")
    rows = (
        f"WITH found AS (FROM {found} UNION ALL BY NAME FROM no_rows), "
        f"rows AS (SELECT *, CAST({sink.key} AS VARCHAR) AS _key, "
        f"{event_of(sink)} AS _event FROM (SELECT * FROM found {which}) "
        f"WHERE NOT is_duplicate AND ({sink.where}))"
    )
    extra = "".join(f", {sql} AS {name}" for name, sql in sink.columns.items())
    return (
        f"{rows}{_joined(sink, states, own, rows)}, enriched AS (SELECT rows._key, rows._event, "
        f'rows."partition" AS _partition, rows."offset" AS _offset{extra} FROM rows {sink.join}) '
    )


def _joined(
    sink: KafkaSink,
    states: Mapping[str, Versions | Piece],
    own: duckdb.DuckDBPyConnection,
    rows: str,
) -> str:
    """SQL: each table that ``rows`` are joined with, after a comma; as much as can matter."""
    views = ""
    for view, table in states.items():
        if isinstance(table, Piece):
            own.register(f"left_{view}", table.rows)
            found = last(identifier(f"left_{view}"), table.key)
            views += (
                f", {view} AS (SELECT * EXCLUDE ({PLACE}, {GONE}) FROM {found} WHERE NOT {GONE})"
            )
            continue
        state, none = table.newest(), f"no_{view}"
        own.register(none, state.schema.empty_table())
        files = state.files
        if view in sink.floors:
            column, value = sink.floors[view]
            [(least,)] = own.execute(f"{rows} SELECT min({value}) FROM rows").fetchall()
            files = reaching(state, column, least)
        views += f", {view} AS (FROM {rows_of(state, files, none)})"
    return views
