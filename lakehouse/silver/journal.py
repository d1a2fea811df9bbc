"""What batches left for each table until its turn to be published, in the store.

Example: a large table has published version 7, and 8 and 9 are applied. The journal has
what 8 and 9 leave of it. Its turn merges both in one commit that records 9; crash here:
the next start finds 9 in the table, and forgets them. Without the crash they are
forgotten at once.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa

from lakehouse.silver.fold import PLACE
from lakehouse.silver.store import Store
from lakehouse.storage.follower import NOTHING

SPACE = "journal"
_FLOORS = "published"
_HEAD = struct.Struct(">q")


@dataclass
class Pending:
    """What waits for a table: how many rows, and since when."""

    rows: int = 0
    since: float = 0.0


class Journal:
    """The pending rows of the tables named, each batch's under a number that grows."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self.pending: dict[str, Pending] = {}
        self._number = 0
        self._done: dict[str, int] = {}
        """Up to which number each table has them, where the store could not forget them yet."""

    def begin(self, published: Mapping[str, int]) -> bool:
        """Go on from the version of bronze that each table says; False where that cannot be.

        It can where the store forgot nothing of a table that this one lacks: else the
        table went back, or the store is of another lake.
        """
        floors: dict[str, int] = self._store.facts(_FLOORS) or {}
        if floors.keys() != published.keys() or any(
            floors[name] > version for name, version in published.items()
        ):
            return False
        self.pending = {name: Pending() for name in published}
        stale: list[bytes] = []
        for name, version in published.items():
            for key, value in self._store.under(SPACE, [_prefix(name)]):
                self._number = max(self._number, _number_of(key))
                if NOTHING < _HEAD.unpack_from(value)[0] <= version:
                    stale.append(key)
                else:
                    self._count(name, _read(value).num_rows)
        with self._store.writing():
            self._store.remove(SPACE, stale)
            self._store.say(_FLOORS, published)
        return True

    def start(self, published: Mapping[str, int]) -> None:
        """Begin with nothing pending: the tables hold these versions."""
        with self._store.writing():
            self._store.say(_FLOORS, published)
        self.pending = {name: Pending() for name in published}

    def add(self, version: int, left: Mapping[str, pa.Table]) -> None:
        """Keep what a batch left of each table; within the batch's transaction."""
        self._number += 1
        for name, rows in left.items():
            if rows.num_rows:
                value = _HEAD.pack(version) + _written(rows)
                self._store.put(SPACE, [(_prefix(name) + _HEAD.pack(self._number), value)])
                self._count(name, rows.num_rows)

    def rows(self, name: str, schema: pa.Schema) -> pa.Table:
        """All that is pending of a table, with its PLACE."""
        placed = schema.append(pa.field(PLACE, pa.int64()))
        parts = [placed.empty_table()]
        for key, value in self._store.under(SPACE, [_prefix(name)]):
            rows, place = _read(value), _number_of(key)
            if place <= self._done.get(name, 0):
                continue
            places = pa.repeat(pa.scalar(place, pa.int64()), rows.num_rows)
            parts.append(rows.append_column(PLACE, places).cast(placed))
        return pa.concat_tables(parts)

    def forget(self, names: Collection[str], version: int) -> None:
        """What was pending of these tables up to a version is in them."""
        gone = [key for name in names for key in self._in_table(name, version)]
        with self._store.writing():
            self._store.remove(SPACE, gone)
            floors = self._store.facts(_FLOORS) or {}
            self._store.say(_FLOORS, floors | dict.fromkeys(names, version))

    def _in_table(self, name: str, version: int) -> list[bytes]:
        """The places of what a table has at a version; it is not given again."""
        self.pending[name] = Pending()
        gone = []
        for key, value in self._store.under(SPACE, [_prefix(name)]):
            if _HEAD.unpack_from(value)[0] <= version:
                gone.append(key)
                self._done[name] = _number_of(key)
            else:
                self._count(name, _read(value).num_rows)
        return gone

    def _count(self, name: str, rows: int) -> None:
        pending = self.pending[name]
        if not pending.rows:
            pending.since = self._clock()
        pending.rows += rows


def _prefix(name: str) -> bytes:
    return name.encode() + b"\0"


def _number_of(key: bytes) -> int:
    return int(_HEAD.unpack(key[-_HEAD.size :])[0])


def _written(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as out:
        out.write_table(rows)
    return bytes(sink.getvalue())


def _read(value: bytes) -> pa.Table:
    with pa.ipc.open_stream(pa.py_buffer(value).slice(_HEAD.size)) as stream:
        return stream.read_all()
