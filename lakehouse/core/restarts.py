"""What runs until it is stopped is started again when it falls, unless that is no use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from lakehouse.core.errors import (
    DiskFull,
    LakehouseError,
    ServiceAway,
    ServiceRefuses,
    ServiceUnavailable,
)
from lakehouse.core.metrics import RESTARTS
from lakehouse.core.signals import is_interrupt

MOST_FALLS = 5
"""So many falls one soon after the other are one that starting again does not mend."""
SOON = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until it is started again: twice as many each time."""
log = structlog.get_logger("lakehouse")


def restarted(name: str, work: Callable[[], None], stop: threading.Event) -> None:
    """Run ``work`` until it ends or a stop is asked for; after a fall again, each time later.

    Raises the last error where starting again is no use: a fault that a person mends, a
    service that has been waited for already, or the fifth fall within a minute of a start.
    """
    falls = 0
    while True:
        began = time.monotonic()
        try:
            work()
            return
        except Exception as error:
            falls = 1 if time.monotonic() - began > SOON else falls + 1
            if stop.is_set() or falls >= MOST_FALLS or not _may_help(error):
                raise
            pause = min(FIRST_PAUSE * 2 ** (falls - 1), LONGEST_PAUSE)
            reason = f"{error.place}: {error.fault}" if isinstance(error, LakehouseError) else (
                f"{type(error).__name__}: {error}".splitlines()[0]
            )  # fmt: skip
            RESTARTS.labels(name).inc()
            log.warning("fell, and is started again", what=name, reason=reason, seconds=pause)
        if stop.wait(pause):
            return


def _may_help(error: Exception) -> bool:
    if isinstance(error, LakehouseError):
        is_over = isinstance(error, ServiceAway | ServiceRefuses | DiskFull)
        return isinstance(error, ServiceUnavailable) and not is_over
    return not is_interrupt(error)
