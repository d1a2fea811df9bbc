"""Exact counts of different values by window: which values an open window has.

Worked example. Windows of five minutes; Ada was seen at 10:01, and the store has her in 10:05.

- At 10:03 she is seen again, and Bob is: the window that ends 10:05 gains one.
- The watermark passes 10:05: what is kept of that window is forgotten. No event that is not
  late can be in it any more.

A crash before the store's transaction changes nothing; after it the row that adds one is in the
journal. A store that is lost is rebuilt from bronze, from the start of the first open window.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.model.flow import Aggregate
from lakehouse.model.window import END, START
from lakehouse.silver.keys import ZERO, hash_key, moment_key, packed, words_sql
from lakehouse.silver.render import values_sql
from lakehouse.silver.store import Store
from lakehouse.storage.duck import scan
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.prepared import Prepared, Source

_MANY = 100_000
"""Values that are loaded into the store in one transaction."""


class ExactCount:
    """One exact count of an aggregate, in a space of the store.

    A value is kept under its window's end and 128 bits of the hash of window, keys and value.
    """

    def __init__(
        self, aggregate: Aggregate, name: str, connection: duckdb.DuckDBPyConnection, rows: Source
    ) -> None:
        self.space, self._name = f"exact {aggregate.name} {name}", name
        self._aggregate, self._connection = aggregate, connection.cursor()
        self._found = Prepared(connection, self._placed("rows"), {"rows": rows})

    def _placed(self, rows: str) -> str:
        """SQL: the values of windows in rows, each once, with their places in the space."""
        of = (self._aggregate.exact or {})[self._name]
        keys = [f"CAST({key} AS VARCHAR)" for key in (*self._aggregate.keys, "counted")]
        return (
            f"SELECT *, CAST(CAST(epoch_us({END}) AS HUGEINT) + {ZERO} AS UBIGINT) AS moment, "
            f"{words_sql(hash_key(keys), 'place')} FROM ({values_sql(self._aggregate, of, rows)})"
        )

    def gained(self, store: Store, passed: int | None) -> pa.Table:
        """How many values the current rows add to each key; forgets windows that are passed."""
        found = self._found()
        places = packed(found, "moment", "place_high", "place_low")
        known = store.get(self.space, places)
        is_new = [place not in known for place in places]
        floor = b"" if passed is None else moment_key(passed + 1)
        kept = [(p, b"") for p, new in zip(places, is_new, strict=True) if new and p >= floor]
        store.put(self.space, sorted(kept))
        store.remove(self.space, [key for key, _ in store.before(self.space, floor)])
        rows = found.filter(pa.array(is_new, pa.bool_())).select([*self._aggregate.keys])
        counted = rows.group_by(rows.column_names).aggregate([([], "count_all")])
        return counted.rename_columns([*rows.column_names, self._name])

    def load(self, windows: str, bronze: str, version: int, store: Store) -> Iterator[int]:
        """Load the values of windows that are open, as bronze had them at a version.

        In transactions of their own; yields how many each.
        """
        own, time = self._connection.cursor(), self._window_time
        first = own.execute(f"SELECT min({START}), min({END}) FROM {windows}").fetchall()
        [(since, until)] = first
        if since is None:
            return
        held = DeltaTable(bronze, version=version)
        rows = (
            f"(FROM {scan(held, files_of(held))} WHERE NOT is_duplicate "
            f"AND {time} >= TIMESTAMPTZ '{since.isoformat()}')"
        )
        sql = f"FROM ({self._placed(rows)}) WHERE {END} >= TIMESTAMPTZ '{until.isoformat()}'"
        for batch in own.sql(sql).to_arrow_reader(_MANY):
            found = pa.Table.from_batches([batch])
            places = packed(found, "moment", "place_high", "place_low")
            with store.writing():
                store.put(self.space, [(place, b"") for place in sorted(places)])
            yield found.num_rows

    @property
    def _window_time(self) -> str:
        return self._aggregate.window.time if self._aggregate.window else ""
