"""Whose turn it is to be published: small tables at every batch, large ones when they may cost it.

All large tables of a flow together take a twentieth of its time at most, unless one would
grow older than [silver] greatest_age: then it has its turn, and the log says what it cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from lakehouse.settings.sections import SilverSettings
from lakehouse.silver.journal import Pending
from lakehouse.storage.buckets import Written

SHARE = 1 / 20
NONE = Written()
_SMALL = 2_000
"""Rows that a small table's turn writes at most."""
_WORTH = 8
"""A large table's turn waits for this part of the rows that it has, or for its age ..."""
_MOST = 2_000_000
"""... or for so many rows: memory holds them."""
log = structlog.get_logger("lakehouse")


@dataclass(frozen=True)
class _Turn:
    seconds: float = 0.0
    written: Written = NONE


class Turns:
    """The clock of one flow's tables."""

    def __init__(
        self, settings: SilverSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._clock = settings, clock
        self._last: dict[str, _Turn] = {}
        self._since, self._spent = clock(), 0.0
        self._levelled = self._since
        self._told = 0.0
        """When the log was told last, in seconds since the start."""

    def is_small(self, name: str) -> bool:
        """Whether its last turn wrote little; a table that had none yet may be."""
        return self._last.get(name, _Turn()).written.rows <= _SMALL

    def due(self, name: str, pending: Pending) -> bool:
        """Whether a table's turn has come."""
        if not pending.rows:
            return False
        if self.is_small(name) or self._is_old(pending):
            return True
        last = self._last.get(name, _Turn())
        if pending.rows < min(last.written.rows // _WORTH, _MOST):
            return False
        can_pay = self._spent + last.seconds <= SHARE * (self._clock() - self._since)
        return can_pay or pending.rows >= self._most(last.written.rows)

    def finer_due(self, pendings: Iterable[tuple[Pending, int]]) -> bool:
        """Whether the turn of the finer tables has come; with each the rows that it has."""
        now, wait = self._clock(), self._settings.finer_persist_interval.total_seconds()
        return any(
            pending.rows and (now - pending.since >= wait or pending.rows >= self._most(rows))
            for pending, rows in pendings
        )

    def level_due(self) -> bool:
        """Whether the last time that it was is [silver] greatest_age ago."""
        now = self._clock()
        if now - self._levelled < self._settings.greatest_age.total_seconds():
            return False
        self._levelled = now
        return True

    def took(self, name: str, seconds: float, written: Written) -> None:
        """A turn is over: how long it took, and what it wrote."""
        self._last[name] = _Turn(seconds, written)
        if self.is_small(name):
            return
        self._spent += seconds
        elapsed, age = self._clock() - self._since, self._settings.greatest_age.total_seconds()
        if self._spent > SHARE * elapsed and elapsed - self._told >= age:
            self._told = elapsed
            log.warning(
                "publishing takes more than a twentieth of the time", table=name,
                seconds=round(self._spent, 1), of=round(elapsed, 1), rows=written.rows,
            )  # fmt: skip

    def _most(self, rows: int) -> int:
        """So many pending rows cost more than their turn, which writes so many, or than memory."""
        return min(max(rows, self._settings.finer_persist_rows), _MOST)

    def _is_old(self, pending: Pending) -> bool:
        return self._clock() - pending.since >= self._settings.greatest_age.total_seconds()
