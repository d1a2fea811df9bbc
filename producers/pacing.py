"""Messages at the pace at which they happened, or at a rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

from producers.message import Message

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The event time of a message before the first that has one."""
AT_ONCE = 1e9
"""A rate that means no pause."""


def as_it_happens(
    found: Iterable[T], rate: float, stop: threading.Event
) -> Iterator[tuple[datetime, T]]:
    """Yields what happens, with the time at which it does: ``rate`` a second, until a stop."""
    due = time.monotonic()
    for one in found:
        if stop.is_set():
            return
        yield datetime.now(UTC), one
        due += 1 / rate
        _waited(due, stop)


def paced(messages: Iterable[Message], rate: float, stop: threading.Event) -> Iterator[Message]:
    """Yields the messages at ``rate`` groups a second."""
    due, group = time.monotonic(), None
    for message in messages:
        if message.group != group:
            group = message.group
            due += 1 / rate
            if _waited(due, stop):
                return
        yield message


def replayed(messages: Iterable[Message], speed: float, stop: threading.Event) -> Iterator[Message]:
    """Yields the messages at ``speed`` times the pace of their event times.

    A line without a time goes with the line before it.
    """
    first, started = None, time.monotonic()
    for message in messages:
        if first is None:
            first = None if message.event_time == EPOCH else message.event_time
            started = time.monotonic()
            yield message
            continue
        due = started + (message.event_time - first).total_seconds() / speed
        if _waited(due, stop):
            return
        yield message


def _waited(due: float, stop: threading.Event) -> bool:
    """Wait until a moment by the monotonic clock; whether a stop came first."""
    wait = due - time.monotonic()
    return wait > 0 and stop.wait(min(wait, threading.TIMEOUT_MAX))
