"""Windows that are open: those whose end the watermark has not passed yet.

Worked example. Windows of a minute, the watermark's delay is two minutes.

- An event of 12:00:10 leaves a row for the window 12:00, and the store keeps the window's
  keys under its end, 12:01.
- An event of 12:03:05 moves the watermark to 12:01:05. What is kept under a time up to it
  leaves a row that says no more than ``is_final``, and is forgotten.
- Both rows wait in the journal as all others do, and merging them makes the window final.

A crash before the store's transaction changes nothing; after it the window is out of the store
and the row is in the journal. A store that is lost is rebuilt from the table's open windows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.model.flow import Aggregate
from lakehouse.model.window import END, FINAL
from lakehouse.silver.exact import ExactCount
from lakehouse.silver.keys import (
    ZERO,
    from_text_values,
    hash_key,
    moment_key,
    packed,
    text_values,
    words_sql,
)
from lakehouse.silver.store import Store
from lakehouse.storage.duck import scan
from lakehouse.storage.prepared import Prepared, Source
from lakehouse.storage.table import Table

_MANY = 100_000
"""Rows of a table that are loaded into the store in one transaction."""


class OpenWindows:
    """The open windows of one aggregate, in a space of the store.

    ``exact`` are the columns of exact counts that are asked for.
    """

    def __init__(
        self,
        aggregate: Aggregate,
        delta: pa.Schema,
        connection: duckdb.DuckDBPyConnection,
        rows: Source,
        exact: Collection[str] = (),
    ) -> None:
        self.space, self._delta = f"open {aggregate.name}", delta
        self._keys = [*aggregate.keys]
        self._rows = Source(pa.schema([delta.field(name) for name in self._keys]))
        self._known = Source(pa.schema([("value", pa.string())]))
        kinds = [(name, kind) for name, (_, kind) in aggregate.keys.items()]
        placed = (
            f"SELECT CAST(CAST(epoch_us({END}) AS HUGEINT) + {ZERO} AS UBIGINT) AS moment, "
            f"{words_sql(_hashed(self._keys), 'place')}, {text_values(self._keys)} AS value "
            "FROM windows"
        )
        self._placed = Prepared(connection, placed, {"windows": self._rows})
        parsed = f"SELECT {from_text_values(kinds, 'value')} FROM known"
        self._parsed = Prepared(connection, parsed, {"known": self._known})
        self._connection = connection.cursor()
        self._exact = [ExactCount(aggregate, name, connection, rows) for name in exact]
        self.spaces = [self.space, *(count.space for count in self._exact)]

    def close(
        self, store: Store, delta: pa.Table, watermark: int | None, passed: int | None
    ) -> pa.Table:
        """What new rows leave for the table, with what the watermark makes final.

        No row that comes later, and is not late, is before ``passed``.
        """
        gained = [self._whole(count.gained(store, passed)) for count in self._exact]
        return pa.concat_tables([self._closed(store, delta, watermark), *gained])

    def _closed(self, store: Store, delta: pa.Table, watermark: int | None) -> pa.Table:
        if watermark is None:
            self._put(store, delta)
            return delta
        passed = pc.less_equal(delta[END], pa.scalar(watermark, delta.schema.field(END).type))
        self._put(store, delta.filter(pc.invert(passed)))
        place = self._delta.get_field_index(FINAL)
        delta = delta.set_column(place, self._delta.field(FINAL), passed)
        closed = [*store.before(self.space, moment_key(watermark + 1))]
        if not closed:
            return delta
        store.remove(self.space, [key for key, _ in closed])
        values = pa.array([value for _, value in closed], pa.binary()).cast(pa.string())
        self._known.put(pa.table({"value": values}))
        final = self._parsed()
        self._known.clear()
        final = final.append_column(FINAL, pa.array([True] * final.num_rows))
        return pa.concat_tables([delta, self._whole(final)])

    def _whole(self, rows: pa.Table) -> pa.Table:
        """Rows as a delta has them; null where they say nothing."""
        columns = [
            rows[f.name] if f.name in rows.schema.names else pa.nulls(rows.num_rows, f.type)
            for f in self._delta
        ]
        return pa.table(columns, names=self._delta.names).cast(self._delta)

    def load(self, table: Table, bronze: str, version: int, store: Store) -> Iterator[int]:
        """Load the table's open windows, in transactions of their own; yields how many each.

        ``version`` is the table's, of bronze: what is counted exactly is read from there.
        """
        files = table.files()
        if not files:
            return
        listed, windows = ", ".join(self._keys), scan(table.dt, files)
        for count in self._exact:
            yield from count.load(f"{windows} WHERE NOT {FINAL}", bronze, version, store)
        sql = f"SELECT {listed} FROM {windows} WHERE NOT {FINAL}"
        for batch in self._connection.cursor().sql(sql).to_arrow_reader(_MANY):
            rows = pa.Table.from_batches([batch])
            with store.writing():
                self._put(store, rows)
            yield rows.num_rows

    def _put(self, store: Store, windows: pa.Table) -> None:
        if not windows.num_rows:
            return
        self._rows.put(windows)
        placed = self._placed()
        self._rows.clear()
        keys = packed(placed, "moment", "place_high", "place_low")
        store.put(
            self.space,
            sorted(zip(keys, placed["value"].cast(pa.binary()).to_pylist(), strict=True)),
        )


def _hashed(keys: list[str]) -> str:
    """SQL: the keys as one text."""
    return hash_key([f"CAST({key} AS VARCHAR)" for key in keys])
