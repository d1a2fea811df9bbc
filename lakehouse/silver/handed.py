"""What silver's tables gain, handed to sinks of the same process.

A table of sessions waits for its turn, and a sink that follows it waits too. But what a batch
leaves for it are whole rows, by key, each the last word on its key: a sink may have them at once.
Of an aggregate a batch leaves no whole rows: its turn does, and hands them on once it is committed,
so that nobody reads them back from the table's files.

Worked example. Bronze is at 9; silver has folded 8 and 9, and published 7.

- Before: a sink holds 7. It is handed what 8 and 9 left, the last row of each key.
- Rows go once every sink that wants them has them, or where they are too many. A sink that was
  away meets a gap: what is left of 12 comes after 11, and it holds 9. It follows the table until
  that has 11, and goes on with what is handed.
- Crash: nothing of this is kept. The next start follows the table, as far as it is published.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import pyarrow as pa

from lakehouse.core.sql import listed
from lakehouse.silver.fold import PLACE
from lakehouse.storage.follower import Applied

_MOST, _LEAST = 32 * 2**20, 2**18
"""Bytes of a table's rows that are kept at most, and that a piece counts for at least: a sink that
a drain leaves behind follows the table."""


@dataclass(frozen=True)
class Piece:
    """Rows that folds leave for a table: all that changed after one version, up to another."""

    key: tuple[str, ...]
    after: int
    applied: Applied
    rows: pa.Table


def last(rows: str, key: Collection[str]) -> str:
    """A FROM item: the last word of a piece's rows on each key; GONE where there is none now."""
    return (
        f"(FROM {rows} QUALIFY row_number() OVER "
        f"(PARTITION BY {listed(key)} ORDER BY {PLACE} DESC) = 1)"
    )


class Handed:
    """The newest pieces of the tables that sinks want; filled by silver, read by the sinks."""

    def __init__(self, tables: Iterable[str] = ()) -> None:
        """``tables`` has a table's name once for each sink that wants it."""
        self._sinks = Counter(tables)
        self._pieces: dict[str, deque[Piece]] = {table: deque() for table in self._sinks}
        self._held: dict[str, dict[str, Applied]] = {table: {} for table in self._sinks}
        """What each sink held when it asked last."""
        self._came = threading.Condition()
        self._rung = 0

    def put(self, table: str, piece: Piece) -> None:
        """Keep what a fold left for a table."""
        if (kept := self._pieces.get(table)) is None:
            return
        with self._came:
            kept.append(piece)
            while sum(max(_LEAST, one.rows.nbytes) for one in kept) > _MOST:
                kept.popleft()

    def wants(self, table: str) -> bool:
        """Whether a sink takes what is left for a table."""
        return table in self._pieces

    def after(self, table: str, held: Applied, sink: str) -> Piece | None:
        """All rows that came after the version that a sink holds, with their PLACE.

        None where none did, or where some are gone.
        """
        with self._came:
            if self.wants(table):
                self._held[table][sink] = held
                self._drop(table)
            found = [
                piece for piece in self._pieces.get(table, ())
                if piece.applied.bronze == held.bronze and piece.applied.version > held.version
            ]  # fmt: skip
        if not found or found[0].after > held.version:
            return None
        parts = [
            piece.rows.append_column(PLACE, pa.repeat(pa.scalar(n, pa.int64()), len(piece.rows)))
            for n, piece in enumerate(found)
        ]
        rows = pa.concat_tables(parts)
        return Piece(found[-1].key, held.version, found[-1].applied, rows) if len(rows) else None

    def _drop(self, table: str) -> None:
        """Forget what every sink has that wants it; the lock is held."""
        pieces, holders = self._pieces[table], self._held[table]
        while pieces and len(holders) >= self._sinks[table]:
            first = pieces[0].applied
            if any(h.bronze != first.bronze or h.version < first.version for h in holders.values()):
                return
            pieces.popleft()

    def ring(self) -> None:
        """Tell those that wait that there is something new."""
        with self._came:
            self._rung += 1
            self._came.notify_all()

    def wait(self, seen: int, seconds: float) -> int:
        """Wait until it has rung since it had rung ``seen`` times; how often it has now."""
        with self._came:
            self._came.wait_for(lambda: self._rung > seen, seconds)
            return self._rung
