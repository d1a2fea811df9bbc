"""Keys of event_ids read from bronze's files, which statistics of their Kafka times choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.ingest.seen import HASHED, Keys, Micros
from lakehouse.ingest.slots import Span
from lakehouse.storage.duck import patterns
from lakehouse.storage.table import Table

_AT_ONCE = 262_144
"""Keys that are read at once."""
_SLACK = 1_000
"""Statistics of a Delta log are cut to whole milliseconds."""
NEVER = -(2**62)


class BronzeKeys:
    """What bronze says of event_ids and when Kafka took them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, bronze: Table) -> None:
        self._connection, self._bronze = connection, bronze

    def files(self, spans: Sequence[Span]) -> tuple[list[str], int]:
        """Files that may hold a time within the spans, and a time that none in bronze is above."""
        files, oldest, newest = file_times(self._bronze, "kafka_time")
        chosen = np.zeros(len(files), dtype=bool)
        for first, after in spans:
            chosen |= (oldest < after) & (newest >= first)
        some = [file for file, is_chosen in zip(files, chosen, strict=True) if is_chosen]
        return some, int(newest.max(initial=NEVER))

    def count(self, files: Sequence[str], spans: Sequence[Span]) -> int:
        """How many keys of these files lie within the spans."""
        if not files:
            return 0
        sql = f"SELECT count(*) FROM read_parquet($files) WHERE {_lies_in(spans)}"
        return int(self._connection.execute(sql, {"files": patterns(files)}).fetchall()[0][0])

    def read(self, files: Sequence[str], spans: Sequence[Span] = ()) -> Iterator[Keys]:
        """The keys of these files, within the spans where there are any, in parts."""
        yield from self._read(files, f"WHERE {_lies_in(spans)}" if spans else "")

    def among(self, ids: pa.Table, files: Sequence[str], spans: Sequence[Span]) -> Iterator[Keys]:
        """The keys of these files within the spans whose event_id is one of these."""
        self._connection.register("asked_ids", ids)
        join = "SEMI JOIN asked_ids USING (event_id)"
        yield from self._read(files, f"{join} WHERE {_lies_in(spans)}")
        self._connection.unregister("asked_ids")

    def _read(self, files: Sequence[str], which: str) -> Iterator[Keys]:
        sql = f"SELECT {HASHED} FROM read_parquet($files) {which}"
        found = self._connection.sql(sql, params={"files": patterns(files)})
        for part in found.to_arrow_reader(_AT_ONCE):
            yield Keys(*(part.column(name).to_numpy() for name in ("a", "b", "t")))


def file_times(table: Table, column: str) -> tuple[list[str], Micros, Micros]:
    """Paths of a table's files, and between which times of a column each lies, by statistics."""
    paths = {path.rsplit("/", 1)[-1]: path for path in table.files()}
    size = len(paths)
    unknown = np.full(size, NEVER), np.full(size, -NEVER)
    if not size:
        return [], *unknown
    actions: Any = pa.table(table.dt.get_add_actions(flatten=True))
    if f"min.{column}" not in actions.column_names:
        return [*paths.values()], *unknown
    files = [paths[path.rsplit("/", 1)[-1]] for path in actions["path"].to_pylist()]
    oldest, newest = (
        pc.fill_null(actions[f"{end}.{column}"].cast(pa.int64()), nothing).to_numpy()
        for end, nothing in (("min", NEVER + _SLACK), ("max", -NEVER - _SLACK))
    )
    return files, oldest - _SLACK, newest + _SLACK


def _lies_in(spans: Sequence[Span]) -> str:
    """SQL that holds for a kafka_time within the spans; row groups of others are skipped."""
    return " OR ".join(
        f"(kafka_time >= make_timestamptz({first}) AND kafka_time < make_timestamptz({after}))"
        for first, after in spans
    )
