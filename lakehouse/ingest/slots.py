"""Kafka time cut into slots, by which event ids are held, counted and let go."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt

from lakehouse.ingest.seen import Micros

_IN_A_HORIZON = 8
_SHORTEST = 1_000_000
_MOST_SPANS = 64
_FEW = 4_096
"""Slots side by side are counted without sorting where they are fewer."""
Span = tuple[int, int]
"""Times from the first up to, and without, the second, in µs since 1970."""


class Slots:
    """Kafka time in slots, an eighth of the horizon wide or a second."""

    def __init__(self, horizon: timedelta) -> None:
        self.within = horizon // timedelta(microseconds=1)
        self.width = max(-(-self.within // _IN_A_HORIZON), _SHORTEST)
        self._reach = -(-self.within // self.width)

    def of(self, times: Micros) -> npt.NDArray[np.int64]:
        """The slot of each time."""
        return times // self.width

    def near(self, slots: npt.NDArray[np.int64]) -> set[int]:
        """The slots that hold all times within the horizon of a time in these."""
        steps = np.arange(-self._reach, self._reach + 1)
        return set(np.unique(np.array([*counted(slots)])[:, None] + steps).tolist())

    def spans(self, slots: set[int]) -> list[Span]:
        """The slots as a few spans; where there would be many, what lies between is in them."""
        ordered = np.array(sorted(slots), dtype=np.int64)
        if not len(ordered):
            return []
        gaps = np.diff(ordered)
        widest = np.sort(gaps)[-_MOST_SPANS] if len(gaps) >= _MOST_SPANS else 1
        cut = np.flatnonzero(gaps > max(1, int(widest)))
        first, last = ordered[np.r_[0, cut + 1]], ordered[np.r_[cut, len(ordered) - 1]]
        pairs = zip(first.tolist(), last.tolist(), strict=True)
        return [(a * self.width, (b + 1) * self.width) for a, b in pairs]


def counted(slots: npt.NDArray[np.int64]) -> dict[int, int]:
    """How many keys each slot has, of those that have any."""
    if not len(slots):
        return {}
    first = int(slots.min())
    if int(slots.max()) - first < _FEW:
        counts = np.bincount(slots - first)
        found = np.flatnonzero(counts)
        return dict(zip((found + first).tolist(), counts[found].tolist(), strict=True))
    found, counts = np.unique(slots, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
