"""Decides which tables are published: small ones at every batch, large ones within a budget.

All large tables of a flow together take at most a twentieth of its time. A table that would
grow older than [silver] greatest_age is published all the same, and the log says what it cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from lakehouse.settings.sections import SilverSettings
from lakehouse.silver.journal import Pending
from lakehouse.silver.keys import MOST_OF_A_TIME
from lakehouse.storage.buckets import Written

SHARE = 1 / 20
NONE = Written()
_SMALL = 2_000
"""Most rows that the publishing of a small table writes ..."""
_OF_A_TIME = 2 * MOST_OF_A_TIME
"""... of windows; what happens now lies in one bucket, or in one and the next ..."""
_FEW, _EACH = 200, 100
"""... and, beyond a few, so many for each that it merges: a quiet flow would write most for one."""
_WORTH = 32
"""A large table waits until a 32nd of the rows that its last turn wrote is pending ..."""
_OF_A_ROW = 3e-6
"""Seconds that a large table's first turn takes for each row, until one has told."""
_MANY = 4
"""Within a flow's time a table waits for so many times those rows ..."""
_MOST = 2_000_000
"""... or this many rows, since they are in memory; or until it is too old."""
_LONGER = 4
"""Finer tables wait so many times [silver] finer_persist_interval at most, less than a concern."""
log = structlog.get_logger("lakehouse")


@dataclass(frozen=True)
class _Turn:
    seconds: float = 0.0
    written: Written = NONE
    is_small: bool = True


class Turns:
    """Keeps the times of one flow's tables."""

    def __init__(
        self,
        settings: SilverSettings,
        clock: Callable[[], float] = time.monotonic,
        windowed: Collection[str] = (),
    ) -> None:
        self._settings, self._clock, self._windowed = settings, clock, windowed
        self._last: dict[str, _Turn] = {}
        self._since, self._spent = clock(), 0.0
        self._levelled = self._since
        self._told = 0.0
        """When the log was last written, in seconds since the start."""

    def is_small(self, name: str, rows: int) -> bool:
        """Whether its last turn wrote little; before the first, whether ``rows`` are few.

        These are what that turn would merge.
        """
        last = self._last.get(name)
        return last.is_small if last else rows <= self._small(name)

    def due(self, name: str, pending: Pending) -> bool:
        """Whether a table's turn has come."""
        if not pending.rows:
            return False
        if self.is_small(name, pending.rows) or self._is_old(pending):
            return True
        last = self._last.get(name)
        rows = last.written.rows if last else pending.rows
        if pending.rows < min(rows // _WORTH, _MOST):
            return False
        takes = last.seconds if last else rows * _OF_A_ROW
        can_pay = self._spent + takes <= SHARE * (self._clock() - self._since)
        return can_pay or pending.rows >= self._most(rows)

    def finer_due(self, pendings: Mapping[str, tuple[Pending, int]]) -> bool:
        """Whether the finer tables' turn has come, given what is pending and how many rows it has.

        They are published together. Where that takes long they wait until a twentieth of the
        time pays for it, or for some times as long: what is pending is on disk.
        """
        now, least = self._clock(), self._settings.finer_persist_interval.total_seconds()
        takes = sum(self._last[name].seconds for name in pendings if name in self._last)

        def is_due(pending: Pending, rows: int) -> bool:
            waited = now - pending.since
            can_pay = takes <= SHARE * waited or waited >= _LONGER * least
            return (waited >= least and can_pay) or pending.rows >= self._most(rows)

        return any(pending.rows and is_due(pending, rows) for pending, rows in pendings.values())

    def level_due(self) -> bool:
        """Whether [silver] greatest_age has passed since the last time."""
        now = self._clock()
        if now - self._levelled < self._settings.greatest_age.total_seconds():
            return False
        self._levelled = now
        return True

    def took(self, name: str, seconds: float, written: Written, merged: int) -> None:
        """Record a turn that is over: its processor time, what it wrote, and of how many rows."""
        is_small = written.rows <= min(self._small(name), max(_FEW, _EACH * merged))
        self._last[name] = _Turn(seconds, written, is_small)
        if is_small:
            return
        self._spent += seconds
        elapsed, age = self._clock() - self._since, self._settings.greatest_age.total_seconds()
        if self._spent > SHARE * elapsed and elapsed - self._told >= age:
            self._told = elapsed
            log.warning(
                "publishing takes more than a twentieth of the time", table=name,
                seconds=round(self._spent, 1), of=round(elapsed, 1), rows=written.rows,
            )  # fmt: skip

    def _small(self, name: str) -> int:
        return _OF_A_TIME if name in self._windowed else _SMALL

    def _most(self, rows: int) -> int:
        """From how many pending rows on a turn that writes ``rows`` costs little for each."""
        return min(max(_MANY * rows, self._settings.finer_persist_rows), _MOST)

    def _is_old(self, pending: Pending) -> bool:
        return self._clock() - pending.since >= self._settings.greatest_age.total_seconds()
