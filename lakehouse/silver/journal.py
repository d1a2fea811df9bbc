"""The rows that batches leave for each table, kept in the store until the table is published.

Worked example. A large table has published version 7 of bronze.

- Before: versions 8 and 9 are applied, and the journal keeps what each leaves for the table.
- The table's turn comes: both are merged in one commit that records version 9. Crash here:
  the journal still has them.
- After: the next start finds version 9 in the table's commit metadata, and removes them from
  the journal without merging them again. Without the crash they are removed at once.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from lakehouse.silver.fold import PLACE
from lakehouse.silver.store import Store, StoreDamaged
from lakehouse.storage.follower import NOTHING, rank

SPACE = "journal"
_FLOORS = "published"
_HEAD = struct.Struct(">q")
_FEW = 10_000
"""More rows are kept compressed: a drain leaves millions, and they are in memory at their turn."""
Entry = tuple[int, bytes]
"""The number of a batch, and what the store has of it for one table."""


@dataclass
class Pending:
    """What is pending for a table: how many rows, and since when."""

    rows: int = 0
    since: float = 0.0


class Journal:
    """The pending rows of the named tables; each batch's rows have a number that grows."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self.pending: dict[str, Pending] = {}
        self._number = 0
        self._done: dict[str, int] = {}
        """Table → the number up to which it has the rows, if the store has not yet removed them."""
        self._asked: dict[str, float] = {}
        """Table → when its pending rows were last asked for: what is left then came since."""

    def begin(self, published: Mapping[str, int]) -> bool:
        """Continue from the version of bronze that each table records; False if that is impossible.

        It is impossible if the store has already removed rows that a table lacks: then the
        table was rolled back, or the store belongs to another lake.
        """
        floors: dict[str, int] = self._store.facts(_FLOORS) or {}
        if floors.keys() != published.keys() or any(
            rank(floors[name]) > rank(version) for name, version in published.items()
        ):
            return False
        self.pending = {name: Pending() for name in published}
        stale: list[bytes] = []
        for name, version in published.items():
            for key, value in self._store.under(SPACE, [_prefix(name)]):
                self._number = max(self._number, _number_of(key))
                if rank(NOTHING) < rank(_HEAD.unpack_from(value)[0]) <= rank(version):
                    stale.append(key)
                else:
                    self._count(name, _read(value).num_rows)
        with self._store.writing():
            self._store.remove(SPACE, stale)
            self._store.say(_FLOORS, published)
        return True

    def start(self, published: Mapping[str, int]) -> None:
        """Begin with nothing pending: the tables are at these versions."""
        with self._store.writing():
            self._store.say(_FLOORS, published)
        self.pending = {name: Pending() for name in published}

    def add(self, version: int, left: Mapping[str, pa.Table]) -> None:
        """Keep what a batch left for each table, within the batch's transaction."""
        self._number += 1
        for name, rows in left.items():
            if rows.num_rows:
                value = _HEAD.pack(version) + _written(rows)
                self._store.put(SPACE, [(_prefix(name) + _HEAD.pack(self._number), value)])
                self._count(name, rows.num_rows)

    def entries(self, name: str) -> list[Entry]:
        """What is pending for a table, as :func:`rows_of` reads it."""
        self._asked[name] = self._clock()
        done = self._done.get(name, 0)
        numbered = (
            (_number_of(key), value) for key, value in self._store.under(SPACE, [_prefix(name)])
        )
        return [(number, value) for number, value in numbered if number > done]

    def forget(self, names: Collection[str], version: int) -> None:
        """Remove what was pending for these tables up to a version: they have it now."""
        gone = [key for name in names for key in self._in_table(name, version)]
        with self._store.writing():
            self._store.remove(SPACE, gone)
            floors = self._store.facts(_FLOORS) or {}
            self._store.say(_FLOORS, floors | dict.fromkeys(names, version))

    def _in_table(self, name: str, version: int) -> list[bytes]:
        """Store keys of pending rows that the table has at this version; ``rows`` skips them."""
        self.pending[name] = Pending()
        gone = []
        for key, value in self._store.under(SPACE, [_prefix(name)]):
            if rank(_HEAD.unpack_from(value)[0]) <= rank(version):
                gone.append(key)
                self._done[name] = _number_of(key)
            else:
                self._count(name, _read(value).num_rows, self._asked.get(name))
        return gone

    def _count(self, name: str, rows: int, since: float | None = None) -> None:
        pending = self.pending[name]
        if not pending.rows:
            pending.since = self._clock() if since is None else since
        pending.rows += rows


def rows_of(entries: Iterable[Entry], schema: pa.Schema) -> pa.Table:
    """The rows that were pending for a table, with their PLACE; any thread may ask."""
    placed = schema.append(pa.field(PLACE, pa.int64()))
    left = pa.concat_tables([placed.empty_table(), *(_placed(one, placed) for one in entries)])
    columns = []
    while left.num_columns:  # one copy goes before the next is made
        columns.append(left.column(0).combine_chunks())  # else each slice copies all
        left = left.remove_column(0)
    return pa.table(columns, schema=placed)


def _placed(entry: Entry, schema: pa.Schema) -> pa.Table:
    rows = _read(entry[1])
    places = pa.repeat(pa.scalar(entry[0], pa.int64()), rows.num_rows)
    return rows.append_column(PLACE, places).cast(schema)


def _prefix(name: str) -> bytes:
    return name.encode() + b"\0"


def _number_of(key: bytes) -> int:
    return int(_HEAD.unpack(key[-_HEAD.size :])[0])


def _written(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4") if rows.num_rows > _FEW else None
    with pa.ipc.new_stream(sink, rows.schema, options=options) as out:
        out.write_table(rows)
    return bytes(sink.getvalue())


def _read(value: bytes) -> pa.Table:
    try:
        with pa.ipc.open_stream(pa.py_buffer(value).slice(_HEAD.size)) as stream:
            return stream.read_all()
    except (pa.ArrowException, OSError) as error:
        raise StoreDamaged.by("what is pending for a table", error) from None
