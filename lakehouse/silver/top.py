"""Top values: units by key and value, and for each key the value with most units.

Units never fall, because only sales count. So the new top value of a key is the old one, or one
that new rows touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from lakehouse.model.flow import UNITS, Aggregate, Favourite
from lakehouse.silver.keys import hash_key, packed, words_sql
from lakehouse.silver.render import ARROW, units_sql
from lakehouse.silver.store import Store
from lakehouse.storage.duck import Prepared, Source, reads

_MANY = 200_000
_UNITS = ARROW[UNITS]
_WIDTH = 16
"""Bytes of a number of units: a decimal in Arrow's layout."""
_PLACE = [("high", pa.uint64()), ("low", pa.uint64())]
_TOUCHED = """
SELECT * EXCLUDE (units), CAST(units + coalesce(known, 0) AS {units}) AS total
FROM found LEFT JOIN known_units USING (group_high, pair)
"""
_CHOSEN = """
WITH touched AS ({touched}),
candidates AS (
    SELECT group_high AS high, group_low AS low, {of} AS item, total FROM touched
    UNION ALL SELECT high, low, item, total FROM known_best
), most AS (SELECT high, low, max(total) AS total FROM candidates GROUP BY ALL),
chosen AS (
    SELECT high, low, total, min(item) AS item
    FROM candidates JOIN most USING (high, low, total) GROUP BY ALL
)
SELECT {keys}, item AS new_{name}, high, low, chosen.total FROM touched JOIN chosen
ON high = group_high AND low = group_low AND item = {of} AND chosen.total = touched.total
ORDER BY high, low
"""


def units_schema(aggregate: Aggregate, of: str) -> pa.Schema:
    """The Arrow schema of a finer table: units by key and value."""
    keys = [pa.field(n, ARROW[kind], nullable=False) for n, (_, kind) in aggregate.keys.items()]
    return pa.schema(
        [*keys, pa.field(of, pa.string(), nullable=False), pa.field("units", ARROW[UNITS])]
    )


class TopState:
    """One aggregate's top value, in two spaces of the store: units by (key, value), best by key.

    A pair's place is 64 bits of its key's hash and 64 of its own; its stored value is its
    units. A best entry begins with 16 bytes of units. Nothing else uses ``connection``, which
    reads ``rows``.
    """

    def __init__(
        self,
        aggregate: Aggregate,
        name: str,
        favourite: Favourite,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self.aggregate, self.name, self.favourite = aggregate, name, favourite
        self._connection = connection
        self.units_space, self.best_space = (f"{w} {favourite.finer}" for w in ("units", "best"))
        self.schema = units_schema(aggregate, favourite.of)
        keys, self._gained = [*aggregate.keys], f"choice_{aggregate.name}_{name}"
        choice = [pa.field(column, pa.string()) for column in [*keys, f"new_{name}"]]
        self.gained = {self._gained: pa.schema(choice)}
        self._find = Prepared(connection, self._hashed(units_sql(aggregate, favourite)))
        places = [(name, pa.uint64()) for name in ("group_high", "group_low", "pair")]
        self._found = Source(pa.schema([*self.schema, *(pa.field(*p) for p in places)]))
        self._units = Source(pa.schema([
            ("group_high", pa.uint64()), ("pair", pa.uint64()), ("known", _UNITS),
        ]))  # fmt: skip
        self._best = Source(pa.schema([*_PLACE, ("item", pa.string()), ("total", _UNITS)]))
        for table, source in (
            ("found", self._found), ("known_units", self._units), ("known_best", self._best),
        ):  # fmt: skip
            connection.register(table, source)
        touched = _TOUCHED.format(units=UNITS)
        self._totals = Prepared(
            connection, f"SELECT group_high, pair, total FROM ({touched}) ORDER BY ALL"
        )
        self._choose = Prepared(
            connection,
            _CHOSEN.format(touched=touched, keys=", ".join(keys), of=favourite.of, name=name),
        )

    def find(self) -> pa.Table:
        """The units of the current rows, with their places in the spaces."""
        return self._find()

    def absorb(self, found: pa.Table, store: Store) -> tuple[dict[str, pa.Table], pa.Table]:
        """Store what was found; gives the table ``choice_<aggregate>_<name>``, and the units."""
        units = found.select(self.schema.names).cast(self.schema)
        if not found.num_rows:
            return {self._gained: self.gained[self._gained].empty_table()}, units
        known = store.get(self.units_space, packed(found, "group_high", "pair"))
        groups = list(dict.fromkeys(packed(found, "group_high", "group_low")))
        best = store.get(self.best_space, groups)
        self._found.put(found)
        self._units.put(_unpacked(known, ["group_high", "pair", "known"]))
        items = pa.array([value[_WIDTH:] for value in best.values()], pa.binary())
        self._best.put(
            _unpacked(best, ["high", "low", "total"]).append_column("item", items.cast(pa.string()))
        )
        totals, chosen = self._totals(), self._choose()
        for source in (self._found, self._units, self._best):
            source.clear()
        store.put(
            self.units_space,
            zip(packed(totals, "group_high", "pair"), _bytes(totals["total"]), strict=True),
        )
        choice = chosen[f"new_{self.name}"].cast(pa.binary()).to_pylist()
        values = (u + item for u, item in zip(_bytes(chosen["total"]), choice, strict=True))
        store.put(self.best_space, zip(packed(chosen, "high", "low"), values, strict=True))
        return {self._gained: chosen}, units

    def load(self, files: list[str], store: Store) -> Iterator[int]:
        """Load a table's rows, in transactions of their own; yields the rows of each."""
        hashed = self._connection.cursor().sql(self._hashed(f"FROM {reads(files)}"))
        for batch in hashed.to_arrow_reader(_MANY):
            rows = pa.Table.from_batches([batch])
            with store.writing():
                self.absorb(rows, store)
            yield rows.num_rows

    def _hashed(self, rows: str) -> str:
        """A query's rows, with the hashes of their keys and values."""
        keys = [*self.aggregate.keys]
        return (
            f"SELECT *, {words_sql(hash_key(keys), 'group')}, "
            f"hash({hash_key([*keys, self.favourite.of])}) AS pair FROM ({rows}) "
            "ORDER BY group_high, pair"
        )


def _unpacked(found: dict[bytes, bytes], names: Sequence[str]) -> pa.Table:
    """Places (128 bits) and their units, as columns."""
    words = pa.Table.from_batches([_words(b"".join(found), names[:2])])
    units = b"".join(value[:_WIDTH] for value in found.values())
    return words.append_column(names[2], pa.Array.from_buffers(
        _UNITS, len(found), [None, pa.py_buffer(units)]
    ))  # fmt: skip


def _words(places: bytes, names: Sequence[str]) -> pa.RecordBatch:
    words = np.frombuffer(places, ">u8").astype("u8").reshape(-1, 2)
    return pa.record_batch([pa.array(words[:, n]) for n in (0, 1)], names=list(names))


def _bytes(units: pa.ChunkedArray) -> list[bytes]:
    """The 16 bytes of each number."""
    whole = pa.concat_arrays(units.cast(_UNITS).chunks) if units.num_chunks else None
    if whole is None or not len(whole):
        return []
    data = whole.buffers()[1].slice(whole.offset * _WIDTH, len(whole) * _WIDTH)
    return list(np.frombuffer(data, f"V{_WIDTH}").tolist())
