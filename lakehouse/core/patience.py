"""How long work goes on without its broker or database: one rule for every process.

Who misses a service waits, says so once, and goes on when it is back. ``[services] patience``
is how long. What does not mend by waiting (a refusal, a broken table) is no matter of
patience: only :class:`lakehouse.core.errors.ServiceAway` is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import structlog

from lakehouse.core.errors import ServiceAway
from lakehouse.core.health import HEALTH
from lakehouse.core.signals import Stopped

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0
"""Seconds between two attempts: twice as many each time."""
SILENCE = 5.0
"""A client that tries again by itself counts as waiting after so many seconds without an answer."""
log = structlog.get_logger("lakehouse")


class Patience:
    """One piece of work's wait for what it needs; one thread waits, any may tell of progress.

    The time runs from the first miss since the last progress.
    """

    def __init__(self, limit: timedelta, stop: threading.Event) -> None:
        self.limit, self._stop = limit.total_seconds(), stop
        self._lost: float | None = None
        self._missed = 0.0
        self._away: set[str] = set()
        self._told, self._pause = "", FIRST_PAUSE

    def miss(self, error: ServiceAway) -> None:
        """Note that a service is away, and say it once; raises the error when the time is over.

        Once a stop is asked for, it is over.
        """
        now = time.monotonic()
        if self._lost is None:
            self._lost = now
        self._missed = now
        self._away.add(error.place)
        HEALTH.away(error.place, error.fault)
        if self._stop.is_set() or now - self._lost >= self.limit:
            raise error
        if error.place != self._told:
            self._told = error.place
            left = f"{self.limit - (now - self._lost):,.0f} s"
            log.warning("waiting", service=error.place, reason=error.fault, at_most=left,
                        fix=error.remedy)  # fmt: skip

    def again(self, error: ServiceAway) -> bool:
        """Wait a moment for another attempt; False once a stop is asked for. Raises as `miss`."""
        if self._stop.is_set():
            return False
        self.miss(error)
        left = self.limit - (time.monotonic() - (self._lost or 0.0))
        stopped = self._stop.wait(max(0.0, min(self._pause, left)))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return not stopped

    def once_more(self) -> None:
        """Wait as long again, and say so: what is away stays away."""
        self._lost, self._told = None, ""

    def back(self) -> None:
        """Say once that what was away answers again; whether it works, progress tells."""
        for place in sorted(self._away):
            log.info("it is back: going on", service=place)
            HEALTH.back(place)
            self._away.discard(place)
        self._told, self._pause = "", FIRST_PAUSE

    def progress(self, at: float | None = None) -> None:
        """Something was done, now or at a time by the monotonic clock: the next wait begins again.

        What was done before the last miss is no progress.
        """
        if at is None or at > self._missed:
            self.back()
            self._lost = None


class Answers:
    """Watches the acknowledgements of a client that tries again by itself."""

    def __init__(self, patience: Patience, away: Callable[[str], ServiceAway]) -> None:
        self._patience, self._away = patience, away
        self._sent = self._known = 0
        self._heard = time.monotonic()

    def look(self, sent: int, answered: int) -> None:
        """Note what is answered; where nothing comes, say it, and raise when the time is over."""
        now = time.monotonic()
        was_idle, self._sent = self._sent == answered, sent
        if answered != self._known or was_idle or sent == answered:
            self._known, self._heard = answered, now
            self._patience.progress()
        elif now - self._heard > SILENCE:
            self._patience.miss(self._away(f"nothing acknowledged in {now - self._heard:.0f} s"))


def patiently(work: Callable[[], T], limit: timedelta, stop: threading.Event) -> T:
    """What ``work`` gives, once the services it needs are there; Stopped where a stop comes first.

    ServiceAway when the time is over.
    """
    patience = Patience(limit, stop)
    while True:
        try:
            done = work()
        except ServiceAway as error:
            if not patience.again(error):
                raise Stopped from None
        else:
            patience.back()
            return done
