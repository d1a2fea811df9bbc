"""SIGTERM and Ctrl-C: an event while a flow runs, an exception before; a handler never blocks.

A handler runs between two steps of the main thread, which may hold any lock or be writing
to a full pipe: it logs nothing, and takes no lock.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

STOPS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """SIGTERM came before any batch was begun: what was started is ended on the way out."""


def stopped_by_sigterm() -> None:
    """Let SIGTERM raise :class:`Stopped` in the main thread, as Ctrl-C raises KeyboardInterrupt."""

    def handle(_number: int, _frame: Any) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, handle)


def is_interrupt(error: BaseException) -> bool:
    """Whether DuckDB says that a signal ended its query; it does not say which."""
    return type(error).__name__ == "InterruptException" or (
        isinstance(error, RuntimeError) and str(error) == "Query interrupted"
    )


@contextmanager
def ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C call ``end`` at once, in a thread, besides what handles them.

    A handler runs only when the main thread comes back from a library; it may wait there
    for minutes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hear, tell = os.pipe()
    os.set_blocking(tell, False)

    def listen() -> None:
        while came := os.read(hear, 1):
            if came[0] in STOPS:
                end()

    thread = threading.Thread(target=listen, name="ended-by-signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(tell)
        thread.join()
        os.close(hear)


class Stop(threading.Event):
    """Set when a signal asks to stop; ``interrupted`` where it was Ctrl-C."""

    interrupted = False


@contextmanager
def stop_on_signals(told: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """An event that SIGTERM and Ctrl-C set; a second Ctrl-C interrupts at once.

    ``told`` is called once it is set by one of them, in a thread of its own: it may block.
    """
    stop, came = Stop(), SimpleQueue[int]()
    asked: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        came.put(number)  # an event's own lock may be held by the thread that was interrupted
        asked.append(number)
        stop.interrupted = stop.interrupted or number == signal.SIGINT
        if len(asked) > 1 and number == signal.SIGINT:
            raise KeyboardInterrupt

    def listen() -> None:
        came.get()
        stop.set()
        told()

    threading.Thread(target=listen, name="stop-on-signals", daemon=True).start()
    with _handled(handle):
        yield stop


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What must not be left half done: a signal that comes meanwhile is handled at the end."""
    came: list[int] = []
    with _handled(lambda number, _frame: came.append(number)):
        yield
    for number in came[-1:]:
        signal.raise_signal(number)


@contextmanager
def _handled(handle: Callable[[int, Any], Any]) -> Iterator[None]:
    """Both signals given to ``handle``; nothing in a thread, where no handler runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
