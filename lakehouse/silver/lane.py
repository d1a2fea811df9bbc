"""The lane: one thread beside the folds, in which large tables are published.

It works a slice at a time, and begins none while a fold runs: a fold waits for one slice's
share of the processor at most, never for a large table.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

Of = TypeVar("Of")
Made = TypeVar("Made")

_LONGEST = 0.5
"""Seconds that a slice waits for folds: while a flow is behind they follow each other."""


class Lane:
    """At most one piece of work at a time; begun and asked for by one thread."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "silver-lane")
        self._work: Future[None] | None = None
        self._idle = threading.Event()
        self._idle.set()

    @property
    def is_busy(self) -> bool:
        """Whether work was begun whose end was not yet met."""
        return self._work is not None

    def begin(self, work: Callable[[], None]) -> None:
        """Do this beside the caller."""
        self._work = self._pool.submit(work)

    def meet(self, *, at_end: bool) -> None:
        """Be free for more where work is at its end, or wait for that; raises what it raised."""
        if self._work is not None and (at_end or self._work.done()):
            try:
                self._work.result()
            finally:
                self._work = None

    def settle(self) -> None:
        """Wait until work is at its end."""
        if self._work is not None:
            wait([self._work])

    @contextmanager
    def folding(self) -> Iterator[None]:
        """Around a fold: no slice is begun."""
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    def pause(self) -> None:
        """Before a slice: wait while a fold runs."""
        self._idle.wait(_LONGEST)


def together(
    pool: ThreadPoolExecutor, work: Callable[[Of], Made], over: Iterable[Of]
) -> list[Future[Made]]:
    """Do this with each, side by side; nothing runs any more when this returns."""
    done = [pool.submit(work, one) for one in over]
    wait(done)
    return done
