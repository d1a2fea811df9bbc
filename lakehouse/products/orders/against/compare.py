"""Bronze's state of the table against the table itself, chunk by chunk; the keys that differ."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lakehouse.audit.pins import Snapshots
from lakehouse.core.text import Say
from lakehouse.products.orders.against.lake import (
    among,
    between,
    hashes,
    parts,
    rows,
    state_then,
    sums,
)
from lakehouse.products.orders.against.table import CELLS, Moment, Row

MOST = 10_000
"""So many keys that differ are looked at one by one; more are counted."""
AGAIN_SECONDS = 1.0
SAY_SECONDS = 2.0


@dataclass
class Difference:
    """A key that differs: its row in the table, and what bronze says of it."""

    table: Row | None
    lake: tuple[str, tuple[str | None, ...]] | None

    @property
    def how(self) -> str:
        """In words, with the columns."""
        if self.lake is None:
            return "only Postgres has it"
        if self.table is None:
            return "only the lake has it"
        pairs = zip(CELLS, self.table.cells, self.lake[1], strict=True)
        odd = [f"{c} is {ours!r}, in Postgres {theirs!r}" for c, theirs, ours in pairs
               if theirs != ours]  # fmt: skip
        return "; ".join(odd)


@dataclass
class Compared:
    """What a comparison found."""

    rows: int = 0
    count: int = 0
    """Keys that differ."""
    keys: list[int] = field(default_factory=list)
    """The first of them, at most :data:`MOST`."""


def compare(moment: Moment, snapshots: Snapshots, bronze: str, say: Say) -> Compared:
    """Compare all chunks; those whose checksums differ row by row, in bounded memory."""
    connection = snapshots.connection
    snapshots.pin("bronze_now", bronze)
    say("working out from bronze what the table holds")
    found, told = Compared(), time.monotonic()
    for part in parts(connection):
        state_then(connection, moment, "then", between(*part))
        for start, last, count, total in moment.chunks(*part):
            found.rows += count
            if sums(connection, start, last) != (count, total):
                theirs, ours = moment.hashes(start, last), hashes(connection, start, last)
                odd = {key for key, _ in theirs.items() ^ ours.items()}
                found.count += len(odd)
                found.keys += sorted(odd)[: MOST - len(found.keys)]
            if time.monotonic() - told > SAY_SECONDS:
                told = time.monotonic()
                say(f"{found.rows:,} rows of the table compared, {found.count:,} differ")
    return found


def settle(
    moment: Moment,
    snapshots: Snapshots,
    bronze: str,
    keys: list[int],
    until: Callable[[], bool],
) -> dict[int, Difference]:
    """The keys that still differ, once what was on its way has landed, or ``until`` holds."""
    table, wait = moment.rows(keys), 0.0
    while True:
        snapshots.pin("bronze_now", bronze)
        state_then(snapshots.connection, moment, "later", among(keys))
        lake = rows(snapshots.connection, "later", keys)
        found = {
            key: Difference(table.get(key), lake.get(key))
            for key in keys
            if (key in table, key in lake) != (False, False)
            and (key not in table or key not in lake or table[key].cells != lake[key][1])
        }
        if not found or until():
            return found
        time.sleep(wait := min(AGAIN_SECONDS, wait + 0.2))
