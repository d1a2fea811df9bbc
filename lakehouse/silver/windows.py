"""Windows that are open: those whose end the watermark has not passed yet.

Worked example. Windows of a minute, the watermark's delay is two minutes.

- An event of 12:00:10 leaves a row for the window 12:00, and the store keeps the window's
  keys under its end, 12:01.
- An event of 12:03:05 moves the watermark to 12:01:05. What is kept under a time up to it
  leaves a row that says no more than ``is_final``, and is forgotten.
- Both rows wait in the journal as all others do, and merging them makes the window final.

A crash before the store's transaction changes nothing; after it the window is out of the store
and the row is in the journal. A store that is lost is made anew from the table's open windows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.model.flow import Aggregate
from lakehouse.model.window import END, FINAL
from lakehouse.silver.keys import from_text_values, hash_key, packed, text_values, words_sql
from lakehouse.silver.store import Store
from lakehouse.storage.duck import Prepared, Source, scan
from lakehouse.storage.table import Table

_MOMENT = struct.Struct(">Q")
_ZERO = 1 << 63
_MANY = 100_000
"""Rows of a table that are loaded into the store in one transaction."""


def moment_key(micros: int) -> bytes:
    """Bytes that sort as the moments do, given in microseconds since 1970."""
    return _MOMENT.pack(micros + _ZERO)


class OpenWindows:
    """The open windows of one aggregate, in a space of the store."""

    def __init__(
        self, aggregate: Aggregate, delta: pa.Schema, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.space, self._delta = f"open {aggregate.name}", delta
        self._keys = [*aggregate.keys]
        self._rows = Source(pa.schema([delta.field(name) for name in self._keys]))
        self._known = Source(pa.schema([("value", pa.string())]))
        kinds = [(name, kind) for name, (_, kind) in aggregate.keys.items()]
        placed = (
            f"SELECT CAST(CAST(epoch_us({END}) AS HUGEINT) + {_ZERO} AS UBIGINT) AS moment, "
            f"{words_sql(_hashed(self._keys), 'place')}, {text_values(self._keys)} AS value "
            "FROM windows"
        )
        self._placed = Prepared(connection, placed, {"windows": self._rows})
        parsed = f"SELECT {from_text_values(kinds, 'value')} FROM known"
        self._parsed = Prepared(connection, parsed, {"known": self._known})
        self._connection = connection

    def close(self, store: Store, delta: pa.Table, watermark: int | None) -> pa.Table:
        """What new rows leave for the table, with what the watermark makes final."""
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
        whole = [
            final[f.name] if f.name in final.schema.names else pa.nulls(final.num_rows, f.type)
            for f in self._delta
        ]
        final = pa.table(whole, names=self._delta.names).cast(self._delta)
        return pa.concat_tables([delta, final])

    def load(self, table: Table, store: Store) -> Iterator[int]:
        """Load the table's open windows, in transactions of their own; yields how many each."""
        files = table.files()
        if not files:
            return
        listed = ", ".join(self._keys)
        sql = f"SELECT {listed} FROM {scan(table.dt, files)} WHERE NOT {FINAL}"
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
