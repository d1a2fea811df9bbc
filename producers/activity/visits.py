"""What users do, as it happens: visits with pauses between pages, popular pages, day and night."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

THINKS = 20.0
"""Median seconds between two things that a user does."""
SPREAD = 0.9
"""Of the logarithm of these seconds."""
LENGTH = 8
"""Things that a user does in one visit, on average."""
CLICKS, GOODBYES = 0.35, 0.6
"""Shares: of things that are clicks, and of visits that end by ``session_end``."""
_IN_A_ROW = 64
"""So many users who are there already are passed one by one."""
HOURS = np.array(
    [4, 2, 1, 1, 1, 2, 4, 8, 12, 14, 15, 15, 16, 15, 14, 14, 15, 17, 20, 24, 26, 24, 16, 8], float
)
"""How busy each hour of the day is, from 0 to 23."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Done:
    """One thing that a user did."""

    time: datetime
    user: str
    page: str
    type: str


@dataclass(slots=True)
class _Visit:
    user: int
    page: int = 0
    left: int = 0
    begun: bool = False
    says_goodbye: bool = False


class Visits:
    """Visits of ``users`` to ``pages``; the same seed gives the same ones."""

    def __init__(self, seed: int, users: int, pages: int) -> None:
        self._draw = np.random.default_rng([seed, 2])
        self._users, self._pages = _zipf(users, 0.6), _zipf(pages, 1.1)
        self._number = 0
        self._busy: set[int] = set()

    def history(self, count: int, end: datetime, hours: int) -> Iterator[Done]:
        """``count`` things, in order of time, within the hours before ``end``."""
        begins = self._begins(2 + int(1.3 * count / LENGTH), end, hours)
        heap: list[tuple[datetime, int, _Visit]] = []
        now, made = begins[0], 0
        while made < count:
            while begins and (not heap or begins[0] <= heap[0][0]):
                self._push(heap, begins.pop(0), self._visit())
            if not heap:  # every visit is over: one more, of somebody who came back
                self._push(heap, now, self._visit())
            now, _, visit = heapq.heappop(heap)
            now = min(now, end)
            yield self._step(heap, now, visit)
            made += 1

    def now(self, rate: float) -> Iterator[tuple[str, str, str]]:
        """What happens next, without an end: user, page and type.

        As many users are there at once as do ``rate`` things a second, all on their way
        already; who leaves makes room for another.
        """
        there = max(1, min(len(self._users) // 2, round(rate * THINKS)))
        start, heap = _EPOCH, list[tuple[datetime, int, _Visit]]()
        for _ in range(there):
            visit = self._visit()
            visit.begun = bool(self._draw.random() < 0.8)
            self._push(heap, start + timedelta(seconds=float(self._draw.random()) * THINKS), visit)
        while True:
            now, _, visit = heapq.heappop(heap)
            done = self._step(heap, now, visit)
            yield done.user, done.page, done.type
            if len(heap) < there:
                self._push(heap, now + self._pause(), self._visit())

    def _begins(self, count: int, end: datetime, hours: int) -> list[datetime]:
        """When visits begin, more of them in busy hours."""
        last = int(end.timestamp() // 3600)
        slots = np.arange(last - hours, last, dtype=np.int64)
        weights = HOURS[slots % 24]
        chosen = self._draw.choice(slots, size=count, p=weights / weights.sum())
        seconds = np.sort(chosen * 3600.0 + self._draw.random(count) * 3600)
        return [_EPOCH + timedelta(microseconds=round(s * 1e6)) for s in seconds.tolist()]

    def _visit(self) -> _Visit:
        """Somebody who is not there already comes, to a page that is popular."""
        user, looked = self._pick(self._users), 0
        while user in self._busy and len(self._busy) < len(self._users):
            looked += 1  # those who come often are there in a row: past some, from anywhere
            elsewhere = looked % _IN_A_ROW == 0
            user = int(self._draw.integers(len(self._users))) if elsewhere else user + 1
            user %= len(self._users)
        self._busy.add(user)
        return _Visit(
            user, self._pick(self._pages), int(self._draw.geometric(1 / (LENGTH - 2))),
            says_goodbye=bool(self._draw.random() < GOODBYES),
        )  # fmt: skip

    def _push(self, heap: list[tuple[datetime, int, _Visit]], at: datetime, visit: _Visit) -> None:
        self._number += 1
        heapq.heappush(heap, (at, self._number, visit))

    def _step(self, heap: list[tuple[datetime, int, _Visit]], now: datetime, visit: _Visit) -> Done:
        """What the visit does now; what it does next goes into the heap."""
        what = "page_view"
        if not visit.begun:
            visit.begun, what = True, "session_start"
        elif visit.left <= 0:
            what = "session_end"
        elif self._draw.random() < CLICKS:
            what, visit.left = "click", visit.left - 1
        else:
            visit.page, visit.left = self._pick(self._pages), visit.left - 1
        if what != "session_end" and (visit.left > 0 or visit.says_goodbye):
            self._push(heap, now + self._pause(), visit)
        else:
            self._busy.discard(visit.user)
        return Done(now, f"u{visit.user:06}", f"/page/{visit.page:04}", what)

    def _pause(self) -> timedelta:
        seconds = min(600.0, THINKS * float(np.exp(SPREAD * self._draw.standard_normal())))
        return timedelta(microseconds=round(seconds * 1e6))

    def _pick(self, cumulative: npt.NDArray[np.float64]) -> int:
        """Draw an index, by running sums of weights that end at 1."""
        place = int(np.searchsorted(cumulative, self._draw.random()))
        return min(place, len(cumulative) - 1)


def _zipf(size: int, exponent: float) -> npt.NDArray[np.float64]:
    """Running sums of Zipf weights, ending at 1."""
    weights = 1.0 / np.arange(1, size + 1) ** exponent
    return np.asarray(np.cumsum(weights / weights.sum()), dtype=np.float64)
