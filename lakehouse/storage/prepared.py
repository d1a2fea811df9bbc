"""Queries of the driver's DuckDB that are planned once, over rows that change."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial

import duckdb
import pyarrow as pa
from duckdb.func import ARROW
from duckdb.sqltypes import DuckDBPyType

from lakehouse.core.sql import identifier

_FEW = 20_000
"""Rows of a query's sources that cost less to copy than the query costs to plan once more."""
_NUMBERS = itertools.count()
_IN_UTC = """
CREATE TEMP MACRO date_trunc(unit VARCHAR, time TIMESTAMPTZ) AS make_timestamptz(epoch_us(
        system.main.date_trunc(unit, make_timestamp(epoch_us(time))))),
    (unit VARCHAR, time TIMESTAMP) AS system.main.date_trunc(unit, time),
    (unit VARCHAR, time DATE) AS system.main.date_trunc(unit, time),
    (unit VARCHAR, time INTERVAL) AS system.main.date_trunc(unit, time)
"""
"""Its own asks the zone of the session: no plan with it is kept, and it takes ten times as long."""


class Source:
    """Rows under a name in SQL that change: a prepared query reads those of the moment."""

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = schema.empty_table()
        self.row: DuckDBPyType | None = None
        """DuckDB's type of a row, once a query has asked for it."""

    def put(self, rows: pa.Table) -> None:
        """Rows that have the columns of the schema, among others perhaps."""
        self.rows = rows.select(self.rows.schema.names).cast(self.rows.schema)

    def clear(self) -> None:
        """No rows."""
        self.rows = self.rows.slice(0, 0)

    def __arrow_c_schema__(self) -> object:
        return self.rows.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class Prepared:
    """A query over sources, by their names; on a small batch planning takes longer than the work.

    DuckDB keeps no plan that scans anything: it plans it again at each EXECUTE. So a few rows
    come from a function, as one list that is unnested. Many rows are scanned, and the query is
    planned: their list would be a copy in memory, and one thread would unnest it.

    The plan is made when it is asked for the second time: that takes longer than to scan a few
    rows once, and a verb folds once, or only opens tables. Of the sources it has those that its
    SQL names: each takes 2 ms to begin with. They must keep their columns; see :class:`Source`.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, sql: str, sources: Mapping[str, Source]
    ) -> None:
        self._sql = sql
        self._sources = {name: one for name, one in sources.items() if name in sql}
        self._truncates = "date_trunc" in sql.lower()
        self._scanning, self._planned = connection.cursor(), connection.cursor()
        self._is_begun = self._is_planned = False

    def __call__(self) -> pa.Table:
        """The rows at hand now."""
        is_first = not self._is_begun
        if is_first:
            self._begin()
        if is_first or sum(len(source.rows) for source in self._sources.values()) > _FEW:
            return self._scanning.execute(self._sql).to_arrow_table()
        if not self._is_planned:
            self._plan()
        return self._planned.execute("EXECUTE planned").to_arrow_table()

    def _begin(self) -> None:
        """Have the sources scanned by their names."""
        if self._truncates:
            self._scanning.execute(_IN_UTC)
        for name, source in self._sources.items():
            self._scanning.register(name, source)
        self._is_begun = True

    def _plan(self) -> None:
        """Plan the query; functions give the sources' rows."""
        if self._truncates:
            self._planned.execute(_IN_UTC)
        for name, source in self._sources.items():
            function = f"rows_{next(_NUMBERS)}"
            self._planned.create_function(
                function, partial(_as_list, source), ["BIGINT"],
                duckdb.list_type(self._row(name, source)), type=ARROW, side_effects=True,
            )  # fmt: skip
            self._planned.execute(
                f"CREATE TEMP VIEW {identifier(name)} AS "
                f"SELECT r.* FROM (SELECT unnest({function}(0)) AS r)"
            )
        self._planned.execute(f"PREPARE planned AS {self._sql}")
        self._is_planned = True

    def _row(self, name: str, source: Source) -> DuckDBPyType:
        """DuckDB's type of a source's row; asked once for all queries over it."""
        if source.row is None:
            told = self._scanning.execute(f"DESCRIBE SELECT * FROM {identifier(name)}").fetchall()
            source.row = duckdb.struct_type({column: kind for column, kind, *_ in told})
        return source.row


def _as_list(source: Source, _: pa.Array) -> pa.Array:
    """The rows of a source as one list."""
    rows = source.rows.to_struct_array().combine_chunks()
    return pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows)
