"""Top values: units by key and value, and for each key the value with most units.

Units never fall, because only sales count. So the new top value of a key is the old one, or one
that new rows touched.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.model.flow import UNITS, Aggregate, Favourite
from lakehouse.silver.keys import hash_key, packed, words_sql
from lakehouse.silver.render import ARROW, units_sql
from lakehouse.silver.store import Store
from lakehouse.storage.duck import BY_NAME, reads
from lakehouse.storage.prepared import Prepared, Source

_MANY = 200_000
_UNITS = ARROW[UNITS]
_GROUP = ("group_high", "group_low")
_WIDTH = 16
"""Bytes of a number of units: a decimal in Arrow's layout; and of a place."""
_FIRST, _NONE = operator.itemgetter(slice(_WIDTH)), bytes(_WIDTH)


def units_schema(aggregate: Aggregate, of: str) -> pa.Schema:
    """The Arrow schema of a finer table: units by key and value."""
    keys = [pa.field(n, ARROW[kind], nullable=False) for n, (_, kind) in aggregate.keys.items()]
    return pa.schema(
        [*keys, pa.field(of, pa.string(), nullable=False), pa.field("units", ARROW[UNITS])]
    )


class TopState:
    """One aggregate's top value, in two spaces of the store: units by (key, value), best by key.

    A pair's place is 64 bits of its key's hash and 64 of its own; its stored value is its
    units. A best entry begins with 16 bytes of units.
    """

    def __init__(
        self,
        aggregate: Aggregate,
        name: str,
        favourite: Favourite,
        connection: duckdb.DuckDBPyConnection,
        rows: Source,
    ) -> None:
        self.aggregate, self.name, self.favourite = aggregate, name, favourite
        self._connection = connection.cursor()
        self.units_space, self.best_space = (f"{w} {favourite.finer}" for w in ("units", "best"))
        self.schema = units_schema(aggregate, favourite.of)
        keys, self._gained = [*aggregate.keys], f"choice_{aggregate.name}_{name}"
        choice = [pa.field(column, pa.string()) for column in [*keys, f"new_{name}"]]
        self.gained = {self._gained: pa.schema(choice)}
        self._find = Prepared(
            connection, self._hashed(units_sql(aggregate, favourite)), {"rows": rows}
        )

    def find(self) -> pa.Table:
        """The units of the current rows, with their places in the spaces."""
        return self._find()

    def absorb(self, found: pa.Table, store: Store) -> tuple[dict[str, pa.Table], pa.Table]:
        """Store what was found; gives the table ``choice_<aggregate>_<name>``, and the units."""
        units = found.select(self.schema.names).cast(self.schema)
        if not found.num_rows:
            return {self._gained: self.gained[self._gained].empty_table()}, units
        pairs, groups = packed(found, "group_high", "pair"), packed(found, *_GROUP)
        known = store.get(self.units_space, pairs)
        best = store.get(self.best_space, list(dict.fromkeys(groups)))
        totals = _added(units["units"], _units(map(known.get, pairs, repeat(_NONE))))
        store.put(self.units_space, zip(pairs, _bytes(totals), strict=True))
        items = pa.array([value[_WIDTH:] for value in best.values()], pa.binary())
        candidates = pa.table({
            "group": _places(chain(groups, best)),
            "total": pa.concat_arrays([totals, _units(best.values())]),
            "item": pa.concat_arrays([_whole(units[self.favourite.of]), items.cast(pa.string())]),
        })  # fmt: skip
        rows = _first_of_each(candidates)
        rows = rows[rows < found.num_rows]  # the others are the best that they were
        chosen = candidates.select(["total", "item"]).take(pa.array(rows))
        values = map(
            operator.add,
            _bytes(_whole(chosen["total"])),
            chosen["item"].cast(pa.binary()).to_pylist(),
        )
        store.put(self.best_space, zip(map(groups.__getitem__, rows), values, strict=True))
        choice = units.take(pa.array(rows)).select([*self.aggregate.keys])
        return {self._gained: choice.append_column(f"new_{self.name}", chosen["item"])}, units

    def load(self, files: list[str], store: Store) -> Iterator[int]:
        """Load a table's rows, in transactions of their own; yields the rows of each."""
        hashed = self._connection.cursor().sql(self._hashed(f"FROM {reads(files, BY_NAME)}"))
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


def _first_of_each(candidates: pa.Table) -> npt.NDArray[np.intp]:
    """The row of each group that has the greatest total, and of these the smallest item."""
    order = pc.sort_indices(candidates, [
        ("group", "ascending"), ("total", "descending"), ("item", "ascending"),
    ]).to_numpy()  # fmt: skip
    groups = np.frombuffer(_whole(candidates["group"]).buffers()[1], f"V{_WIDTH}")[order]
    is_first = np.concatenate([[True], groups[1:] != groups[:-1]])
    found: npt.NDArray[np.intp] = order[is_first]
    return found


def _places(places: Iterable[bytes]) -> pa.FixedSizeBinaryArray:
    """Keys of the store as a column."""
    return pa.Array.from_buffers(pa.binary(_WIDTH), *_joined(places))


def _units(values: Iterable[bytes]) -> pa.Decimal128Array:
    """The numbers that stored values begin with."""
    return pa.Array.from_buffers(_UNITS, *_joined(map(_FIRST, values)))


def _joined(parts: Iterable[bytes]) -> tuple[int, list[pa.Buffer | None]]:
    """How many parts of 16 bytes, and the buffers of an array of them."""
    data = b"".join(parts)
    return len(data) // _WIDTH, [None, pa.py_buffer(data)]


def _added(units: pa.ChunkedArray, before: pa.Decimal128Array) -> pa.Decimal128Array:
    """Their sums: Arrow gives a sum a digit more, which a number of units never needs."""
    narrow = pa.decimal128(_UNITS.precision - 1, 0)
    return _whole(pc.add(units.cast(narrow), before.cast(narrow)))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array without an offset: its buffers begin with its first value."""
    return pa.concat_arrays(column.chunks) if column.num_chunks > 1 else column.combine_chunks()


def _bytes(units: pa.Decimal128Array) -> list[bytes]:
    """The 16 bytes of each number."""
    data = units.buffers()[1].slice(units.offset * _WIDTH, len(units) * _WIDTH)
    return list(np.frombuffer(data, f"V{_WIDTH}").tolist())
