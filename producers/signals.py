"""Ctrl-C and a polite kill, as events: what is in hand is finished first."""

from __future__ import annotations

import signal
import threading
from typing import Any


def stop_on_signals() -> tuple[threading.Event, threading.Event]:
    """Two events: stop, set by either signal, and interrupted, set by Ctrl-C.

    The signal's second coming ends the process at once.
    """
    stop, interrupted = threading.Event(), threading.Event()

    def on_signal(number: int, _frame: Any) -> None:
        stop.set()
        if number == signal.SIGINT:
            interrupted.set()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop, interrupted
