"""An exact-enough memory of keys: 128-bit hashes in sorted runs, 24 bytes a key.

Looking up a batch costs what the batch is worth, times the few runs; runs are
merged as they grow and dropped as they expire. It answers "was this event_id
seen within the horizon", and "is this key of a finer table known".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakehouse.storage.duck import Prepared, Source, reading

Words = npt.NDArray[np.uint64]
Micros = npt.NDArray[np.int64]
MAX_RUN = 2_000_000
"""Keys of the longest run: bounds the time of one merge."""


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


def hash_sql(key: str, time: str = "0") -> str:
    """Select-list columns a, b, t of :func:`keys` for a text expression."""
    return f"hash({key}) AS a, hash('~' || ({key})) AS b, CAST({time} AS BIGINT) AS t"


def keys(connection: duckdb.DuckDBPyConnection, select: str) -> Keys:
    """The keys that a query gives, whose columns are those of :func:`hash_sql`."""
    columns = connection.execute(select).fetchnumpy()
    return Keys(
        np.ascontiguousarray(columns["a"], dtype=np.uint64),
        np.ascontiguousarray(columns["b"], dtype=np.uint64),
        np.ascontiguousarray(columns["t"], dtype=np.int64),
    )


def words_sql(key: str, name: str) -> str:
    """Select-list columns of :func:`words` for a text expression."""
    return f"hash({key}) AS {name}_high, hash('~' || ({key})) AS {name}_low"


def words(rows: pa.Table, name: str) -> Keys:
    """The keys in the columns of :func:`words_sql`; they have no time."""
    high, low = (rows[f"{name}_{part}"].to_numpy() for part in ("high", "low"))
    return Keys(high, low, np.zeros(len(high), dtype=np.int64))


class Seen:
    """Keys in sorted runs."""

    def __init__(self) -> None:
        self._runs: list[Keys] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, new: Keys) -> None:
        """Remember these keys."""
        if not len(new):
            return
        for start in range(0, len(new), MAX_RUN):
            part = slice(start, start + MAX_RUN)
            self._runs.append(_sorted(new.high[part], new.low[part], new.time[part]))
            self._merge()

    def _merge(self) -> None:
        while len(self._runs) > 1:
            last, before = self._runs[-1], self._runs[-2]
            if len(before) > 2 * len(last) or len(before) + len(last) > MAX_RUN:
                return
            self._runs[-2:] = [
                _sorted(
                    np.concatenate([before.high, last.high]),
                    np.concatenate([before.low, last.low]),
                    np.concatenate([before.time, last.time]),
                )
            ]

    def keep(self, chosen: Callable[[Micros], npt.NDArray[np.bool_]]) -> None:
        """Forget the keys whose times are not chosen."""
        kept = [run.where(chosen(run.time)) for run in self._runs]
        self._runs = [run for run in kept if len(run)]

    def near(self, asked: Keys, within: int = 0) -> npt.NDArray[np.bool_]:
        """For each key, whether a copy is held whose time lies within so many µs."""
        found = np.zeros(len(asked), dtype=bool)
        order = np.argsort(asked.high)  # sorted keys are found ten times sooner
        for run in self._runs:
            place = np.empty(len(asked), dtype=np.int64)
            place[order] = np.searchsorted(run.high, asked.high[order])
            open_rows = np.arange(len(asked))
            while len(open_rows):
                spot = place[open_rows]
                inside = spot < len(run)
                open_rows, spot = open_rows[inside], spot[inside]
                same = run.high[spot] == asked.high[open_rows]
                open_rows, spot = open_rows[same], spot[same]
                close = np.abs(run.time[spot] - asked.time[open_rows]) <= within
                found[open_rows[(run.low[spot] == asked.low[open_rows]) & close]] = True
                open_rows = open_rows[~found[open_rows]]
                place[open_rows] += 1
        return found


def _sorted(high: Words, low: Words, time: Micros) -> Keys:
    order = np.argsort(high, kind="stable")
    return Keys(high[order], low[order], time[order])


class EventKeys:
    """The keys of event_ids, at the times that Kafka took them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        time = pa.timestamp("us", "UTC")
        self._asked = Source(pa.schema({"event_id": pa.string(), "kafka_time": time}))
        cursor = reading(connection, {"asked": self._asked})
        select = hash_sql("event_id", "epoch_us(kafka_time)")
        self._hashed = Prepared(cursor, f"SELECT {select} FROM asked")

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
    address = (rows["offset"].to_numpy(), rows["partition"].to_numpy())
    order = np.lexsort((*address, asked.time, asked.low, asked.high))
    high, low, time = asked.high[order], asked.low[order], asked.time[order]
    repeat = (high[1:] == high[:-1]) & (low[1:] == low[:-1]) & (time[1:] - time[:-1] <= within)
    marks = held.copy()
    marks[order[1:][repeat]] = True
    return marks
