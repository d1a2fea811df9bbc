"""Activity events as they are sent: some late, out of order, twice, or broken."""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from lakehouse.products.activity.contract import ACTIVITY, Activity
from producers.activity.faults import FAULTS
from producers.activity.visits import Done
from producers.message import Message

LATE_MARK = "-late"
"""Suffix of the event_id of a deliberately late event."""
LATE_BY = timedelta(minutes=10)
MOST_OUT_OF_ORDER = timedelta(seconds=90)
"""So much later an event is sent that is out of order: within the watermark's delay."""
_COPIES = 50
"""Copies that wait at most."""
_FAULT_NAMES = list(FAULTS)


_Held = tuple[datetime, int, Message]
"""What is held back, by when it is sent."""


@dataclass(frozen=True)
class Shares:
    """Fractions of events that are late, out of order, sent twice or broken; how late they are."""

    late: float = 0.0
    out_of_order: float = 0.0
    duplicates: float = 0.0
    corrupt: float = 0.0
    late_by: timedelta = LATE_BY


class Sent:
    """What users did, in the order in which it is sent; ids begin with ``run_id``."""

    def __init__(self, seed: int, run_id: str, shares: Shares) -> None:
        self._draw, self._run, self._shares = np.random.default_rng([seed, 3]), run_id, shares
        self._number = 0
        self._late: list[_Held] = []
        self._behind: list[_Held] = []
        self._copies: deque[Message] = deque()

    def messages(self, events: Iterable[Done]) -> Iterator[Message]:
        """A message for each event; what is held back comes in between, or at the end."""
        newest = None
        for done in events:
            yield from _due(self._behind, done.time)
            message, wait = self._message(done)
            if wait:
                held = self._late if message.kind == "late" else self._behind
                heapq.heappush(held, (done.time + wait, self._number, message))
                continue
            newest = done.time
            yield message
            yield from self._copied(message)
            yield from _due(self._late, newest)
        yield from _due(self._behind, None)
        for message in _due(self._late, None):
            message.kind = "good"  # nothing was sent that it would be late to
            message.value = message.value and message.value.replace(LATE_MARK.encode(), b"")
            yield message
        yield from self._copies
        self._copies.clear()

    def _message(self, done: Done) -> tuple[Message, timedelta | None]:
        """The event's message, and how long it is held back."""
        self._number += 1
        draw, shares = self._draw.random(), self._shares
        is_late = draw < shares.late
        is_behind = not is_late and draw < shares.late + shares.out_of_order
        event = Activity(
            event_id=f"{self._run}-{self._number}{LATE_MARK if is_late else ''}",
            event_time=done.time, user_id=done.user, page_url=done.page,
            event_type=done.type,  # type: ignore[arg-type]  # a visit does no other things
        )  # fmt: skip
        key, value = done.user.encode(), ACTIVITY.encode(event)
        if not is_late and self._draw.random() < shares.corrupt:
            fault = _FAULT_NAMES[int(self._draw.integers(len(_FAULT_NAMES)))]
            broken = FAULTS[fault](json.loads(value))
            return Message(key, broken, f"corrupt:{fault}", event.event_id, done.time), None
        kind = "late" if is_late else "out_of_order" if is_behind else "good"
        wait = None
        if is_late:
            wait = shares.late_by
        elif is_behind:
            wait = MOST_OUT_OF_ORDER * float(self._draw.uniform(0.05, 1))
        return Message(key, value, kind, event.event_id, done.time), wait

    def _copied(self, message: Message) -> Iterator[Message]:
        """Perhaps keep a copy, to be sent some events later; now and then the oldest."""
        if message.kind == "good" and self._draw.random() < self._shares.duplicates:
            copy = Message(
                message.key, message.value, "duplicate", message.group, message.event_time
            )
            self._copies.append(copy)
        if len(self._copies) > _COPIES or (self._copies and self._draw.random() < 0.1):
            yield self._copies.popleft()


def _due(held: list[_Held], now: datetime | None) -> Iterator[Message]:
    """What is due, and no longer held; all of it without a time."""
    while held and (now is None or held[0][0] <= now):
        yield heapq.heappop(held)[2]
