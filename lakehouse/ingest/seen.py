"""An exact-enough memory of keys: 128-bit hashes in sorted runs, 24 bytes a key.

Looking up a batch costs what the batch is worth, times the few runs, which are
merged as they grow. It answers "was this event_id seen within the horizon".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakehouse.ingest.sieve import Sieve, bits
from lakehouse.storage.prepared import Prepared, Source

Words = npt.NDArray[np.uint64]
Micros = npt.NDArray[np.int64]
MAX_RUN = 2_000_000
"""Keys of the longest run: bounds the time of one merge."""
HASHED = "hash(event_id) AS a, hash('~' || event_id) AS b, epoch_us(kafka_time) AS t"
"""Columns of SQL: two hashes of an event_id, a and b, and its time t."""


@dataclass(frozen=True)
class Keys:
    """Hashes of keys, two words each, and the time of each in µs since 1970."""

    high: Words
    low: Words
    time: Micros

    def __len__(self) -> int:
        return len(self.high)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Keys:
        """Those that are chosen."""
        return Keys(self.high[chosen], self.low[chosen], self.time[chosen])

    def at(self, places: npt.NDArray[np.int64] | slice) -> Keys:
        """Those at these places, in their order."""
        return Keys(self.high[places], self.low[places], self.time[places])

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """The places of the keys in the order of their first words."""
        return np.argsort(self.high)

    @classmethod
    def together(cls, parts: Iterable[Keys]) -> Keys:
        """The keys of all parts, which are ordered each, in the order of their first words."""
        held = [*parts]
        if len(held) == 1:
            return held[0]
        high, low, time = (
            np.concatenate([getattr(part, name) for part in held])
            for name in ("high", "low", "time")
        )
        return Keys(high, low, time).at(np.argsort(high, kind="stable"))  # which merges


class Seen:
    """Keys in sorted runs."""

    def __init__(self) -> None:
        self._runs: list[Keys] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, new: Keys) -> None:
        """Remember these keys."""
        for start in range(0, len(new), MAX_RUN):
            part = new.at(slice(start, start + MAX_RUN))
            self._runs.append(part.at(part.order))
            self._merge()

    def _merge(self) -> None:
        while len(self._runs) > 1:
            last, before = self._runs[-1], self._runs[-2]
            if len(before) > 2 * len(last) or len(before) + len(last) > MAX_RUN:
                return
            self._runs[-2:] = [Keys.together([before, last])]

    def near(self, asked: Keys, within: int) -> npt.NDArray[np.bool_]:
        """For each key, whether a copy is held whose time lies within so many µs."""
        return near(((run, None) for run in self._runs), asked, within)


def near(
    runs: Iterable[tuple[Keys, Sieve | None]], asked: Keys, within: int
) -> npt.NDArray[np.bool_]:
    """For each key, whether one of the ordered runs has a copy of it within so many µs."""
    found = np.zeros(len(asked), dtype=bool)
    order = asked.order  # ordered keys are found ten times sooner
    high = asked.high[order]
    marks = bits(high)
    for run, sieve in runs:
        if not len(run):
            continue
        some = slice(None) if sieve is None else sieve.passing(high, marks)
        there = high[some]
        places = np.searchsorted(run.high, there)  # a key beyond the last equals none
        hits = np.flatnonzero(run.high.take(places, mode="clip") == there)
        rows, spots = order[some][hits], places[hits]
        while len(rows):
            close = np.abs(run.time[spots] - asked.time[rows]) <= within
            found[rows[(run.low[spots] == asked.low[rows]) & close]] = True
            rows, spots = rows[~found[rows]], spots[~found[rows]] + 1
            rows, spots = rows[spots < len(run)], spots[spots < len(run)]
            same = run.high[spots] == asked.high[rows]
            rows, spots = rows[same], spots[same]
    return found


class EventKeys:
    """The keys of event_ids, at the times that Kafka took them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        time = pa.timestamp("us", "UTC")
        self._asked = Source(pa.schema({"event_id": pa.string(), "kafka_time": time}))
        self._hashed = Prepared(connection, f"SELECT {HASHED} FROM asked", {"asked": self._asked})

    def of(self, rows: pa.Table) -> Keys:
        """One key a row, in their order."""
        self._asked.put(rows)
        hashed = self._hashed()
        self._asked.clear()
        return Keys(*(hashed[name].to_numpy() for name in ("a", "b", "t")))


def copies(
    asked: Keys, rows: pa.Table, held: npt.NDArray[np.bool_], within: int
) -> npt.NDArray[np.bool_]:
    """Which rows are later copies of an event_id: of one already held, or of one in the batch.

    ``asked`` are the keys of ``rows``, which has partition and offset. The first by
    (kafka_time, partition, offset) counts; ``within`` is the horizon in µs.
    """
    marks, order = held.copy(), asked.order
    high = asked.high[order]
    same = np.flatnonzero(high[1:] == high[:-1])
    if not len(same):
        return marks
    few = np.unique(np.concatenate([order[same], order[same + 1]]))
    address = (rows["offset"].to_numpy()[few], rows["partition"].to_numpy()[few])
    few = few[np.lexsort((*address, asked.time[few], asked.low[few], asked.high[few]))]
    high, low, time = asked.high[few], asked.low[few], asked.time[few]
    repeat = (high[1:] == high[:-1]) & (low[1:] == low[:-1]) & (time[1:] - time[:-1] <= within)
    marks[few[1:][repeat]] = True
    return marks
