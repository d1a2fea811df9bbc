"""Copies of an event_id, found among all that bronze holds within the horizon of each record.

Kafka time is cut into slots. Memory holds whole slots: those that lie within the
horizon of what recent batches brought, so partitions hours apart cost a few slots
each, and a day's backlog no more. What a batch needs and memory lacks is read from
bronze, whose statistics leave out the files of other hours. So a restart, an uneven
backlog or a clock that is wrong changes what is read, never a mark.

Example: partition 1 is at 17:00, partition 0 at 12:00. Memory holds 16:00 to 17:00
and 11:00 to 13:00. When partition 0 comes to 12:10, what partition 1 brought between
13:00 and 13:10 is read from bronze again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.ingest.seen import MAX_RUN, EventKeys, Keys, Micros, Seen, copies, hash_sql
from lakehouse.storage.duck import patterns
from lakehouse.storage.table import Table

MOST_KEYS = 32_000_000
"""Keys that memory holds at most, 24 bytes each; what is beyond them is looked up in bronze."""
_IN_A_HORIZON = 8
_SHORTEST = 1_000_000
_RECENT = 8
"""Batches whose slots memory keeps."""
_FEW = 16
"""A slot is looked into, not held, for less than this part of a batch, unless it comes again."""
_MOST_SPANS = 64
_SLACK = 1_000
"""Statistics of a Delta log are cut to whole milliseconds."""
_NEVER = -(2**62)
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
        return set(np.unique(np.unique(slots)[:, None] + steps).tolist())

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


class Copies:
    """Which records are copies: of one that bronze holds, or of an earlier one of their batch."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, bronze: Table, horizon: timedelta
    ) -> None:
        self.slots = Slots(horizon)
        self._bronze, self._connection = bronze, connection.cursor()
        self._event_keys = EventKeys(connection)
        self.forget()

    def __len__(self) -> int:
        return len(self._seen)

    def forget(self) -> None:
        """Bronze was changed beside this memory: what is needed is read anew."""
        self._seen = Seen()
        self._newest = -_NEVER
        """No Kafka time in bronze lies above it."""
        self._held: dict[int, int] = {}
        """Slots that memory holds whole, and how many keys of each."""
        self._recent: deque[set[int]] = deque(maxlen=_RECENT)

    def marks(self, rows: pa.Table) -> pa.Array:
        """The marks of a batch that bronze is about to commit; the batch is remembered.

        ``rows`` has event_id, kafka_time, partition, offset.
        """
        if not rows.num_rows:
            return pa.array([], pa.bool_())
        asked = self._event_keys.of(rows)
        slots = self.slots.of(asked.time)
        needed = self.slots.near(slots)
        missing = needed - self._held.keys()
        found = self._look_back(rows, slots, missing) if missing else Seen()
        held = self._seen.near(asked, self.slots.within) | found.near(asked, self.slots.within)
        self._recent.append(needed)
        self._remember(asked, slots)
        return pa.array(copies(asked, rows, held, self.slots.within))

    def _look_back(self, rows: pa.Table, slots: npt.NDArray[np.int64], missing: set[int]) -> Seen:
        """Take slots that memory lacks into it; or else give what bronze has of these event_ids."""
        ahead = {slot for slot in missing if slot * self.slots.width > self._newest}
        self._held |= dict.fromkeys(ahead, 0)
        if not (missing := missing - ahead):
            return Seen()
        spans = self.slots.spans(missing)
        files = self._files(spans)
        size = self._count(files, spans) if files else 0
        again = any(missing & needed for needed in self._recent)
        wanting = np.isin(slots, [*self.slots.near(np.array([*missing]))])
        is_worth_it = again or _FEW * np.count_nonzero(wanting) >= len(slots) or not size
        if is_worth_it and len(self._seen) + size <= MOST_KEYS:
            self._held |= dict.fromkeys(missing, 0)
            for part in self._read(files, spans, "") if size else ():
                self._add(part, self.slots.of(part.time))
            return Seen()
        found = Seen()
        asked = rows.select(["event_id"]).filter(pa.array(wanting))
        self._connection.register("asked_ids", asked)
        for part in self._read(files, spans, "SEMI JOIN asked_ids USING (event_id)"):
            found.add(part)
        self._connection.unregister("asked_ids")
        return found

    def _files(self, spans: Sequence[Span]) -> list[str]:
        """Bronze's files that may hold a Kafka time within the spans."""
        files, oldest, newest = file_times(self._bronze, "kafka_time")
        self._newest = int(newest.max(initial=_NEVER))
        chosen = np.zeros(len(files), dtype=bool)
        for first, after in spans:
            chosen |= (oldest < after) & (newest >= first)
        return [file for file, is_chosen in zip(files, chosen, strict=True) if is_chosen]

    def _count(self, files: Sequence[str], spans: Sequence[Span]) -> int:
        sql = f"SELECT count(*) FROM read_parquet($files) WHERE {_lies_in(spans)}"
        return int(self._connection.execute(sql, {"files": patterns(files)}).fetchall()[0][0])

    def _read(self, files: Sequence[str], spans: Sequence[Span], among: str) -> Iterator[Keys]:
        select = hash_sql("event_id", "epoch_us(kafka_time)")
        sql = f"SELECT {select} FROM read_parquet($files) {among} WHERE {_lies_in(spans)}"
        parts = self._connection.sql(sql, params={"files": patterns(files)}).to_arrow_reader(
            MAX_RUN
        )
        for part in parts:
            yield Keys(*(part.column(name).to_numpy() for name in ("a", "b", "t")))

    def _remember(self, asked: Keys, slots: npt.NDArray[np.int64]) -> None:
        """Hold what lies in slots that are held whole, and let go of what recent batches left."""
        self._add(asked, slots)
        self._newest = max(self._newest, int(asked.time.max()))
        wanted = set().union(*self._recent)
        left = [slot for slot in self._held if slot not in wanted]
        stale = sum(self._held[slot] for slot in left)
        if stale * 2 > len(self._seen):
            self._drop(left)
        if len(self._seen) > MOST_KEYS:
            self._drop(self._oldest_beyond(MOST_KEYS))

    def _add(self, keys: Keys, slots: npt.NDArray[np.int64]) -> None:
        found, counts = np.unique(slots, return_counts=True)
        whole = [slot for slot in found.tolist() if slot in self._held]
        if len(whole) < len(found):
            keys = keys.where(np.isin(slots, whole))
        self._seen.add(keys)
        for slot, count in zip(found.tolist(), counts.tolist(), strict=True):
            if slot in self._held:
                self._held[slot] += count

    def _oldest_beyond(self, most: int) -> list[int]:
        """The oldest slots, so many that the others hold no more keys than this."""
        size, chosen = len(self._seen), []
        for slot in sorted(self._held):
            if size <= most:
                break
            size -= self._held[slot]
            chosen.append(slot)
        return chosen

    def _drop(self, slots: Sequence[int]) -> None:
        for slot in slots:
            del self._held[slot]
        kept = np.array([*self._held], dtype=np.int64)
        self._seen.keep(lambda times: np.isin(self.slots.of(times), kept))


def file_times(table: Table, column: str) -> tuple[list[str], Micros, Micros]:
    """Paths of a table's files, and between which times of a column each lies, by statistics."""
    paths = {path.rsplit("/", 1)[-1]: path for path in table.files()}
    size = len(paths)
    unknown = np.full(size, _NEVER), np.full(size, -_NEVER)
    if not size:
        return [], *unknown
    actions: Any = pa.table(table.dt.get_add_actions(flatten=True))
    if f"min.{column}" not in actions.column_names:
        return [*paths.values()], *unknown
    files = [paths[path.rsplit("/", 1)[-1]] for path in actions["path"].to_pylist()]
    oldest, newest = (
        pc.fill_null(actions[f"{end}.{column}"].cast(pa.int64()), nothing).to_numpy()
        for end, nothing in (("min", _NEVER + _SLACK), ("max", -_NEVER - _SLACK))
    )
    return files, oldest - _SLACK, newest + _SLACK


def _lies_in(spans: Sequence[Span]) -> str:
    """SQL that holds for a kafka_time within the spans; row groups of others are skipped."""
    return " OR ".join(
        f"(kafka_time >= make_timestamptz({first}) AND kafka_time < make_timestamptz({after}))"
        for first, after in spans
    )
