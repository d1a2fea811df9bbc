"""Copies of an event_id, found among all that bronze holds within the horizon of each record.

Kafka time is cut into slots. The store of event ids holds whole slots: those that lie
within the horizon of what recent batches brought, so partitions hours apart cost a few
slots each, and a day's backlog no more. What a batch needs and the store lacks is read
from bronze, whose statistics leave out the files of other hours; what bronze gained since
the store was saved is read from its log. So a restart, a store that is lost, an uneven
backlog or a clock that is wrong changes what is read, never a mark.

Example: partition 1 is at 17:00, partition 0 at 12:00. Held are 16:00 to 17:00 and 11:00
to 13:00. When partition 0 comes to 12:10, what partition 1 brought between 13:00 and
13:10 is read from bronze again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import structlog

from lakehouse.core.errors import TableDamaged
from lakehouse.ingest.bronze_keys import NEVER, BronzeKeys
from lakehouse.ingest.event_ids import EventIds
from lakehouse.ingest.runs import RunDamaged
from lakehouse.ingest.seen import EventKeys, Keys, Seen, copies
from lakehouse.ingest.slots import Slots, counted
from lakehouse.storage.committing import crossed
from lakehouse.storage.increments import increments
from lakehouse.storage.log import commit_time
from lakehouse.storage.table import Table

log = structlog.get_logger("lakehouse")
MOST_KEYS = 128_000_000
"""Keys that the store holds at most, 24 bytes each; what is beyond them is looked up in bronze."""
_TOLD = 2_000_000
"""More keys than these are read with a line in the log for each so many."""
_RECENT = 8
"""Batches whose slots are held."""
_FEW = 16
"""A slot is looked into, not held, for less than this part of a batch, unless it comes again."""
_NOTHING = -1


class Copies:
    """Which records are copies: of one that bronze holds, or of an earlier one of their batch."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        bronze: Table,
        horizon: timedelta,
        folder: Path,
    ) -> None:
        self.slots = Slots(horizon)
        self._bronze, self._keys = bronze, BronzeKeys(connection.cursor(), bronze)
        self._event_keys = EventKeys(connection)
        self._ids = EventIds(folder, self.slots)
        self._is_open = False
        self._version = self._saved = _NOTHING
        """The version of bronze that is held, and the one that was saved."""
        self._came = 0
        """Keys that came since the last upkeep."""
        self._newest = -NEVER
        """No Kafka time in bronze lies above it."""
        self._recent: deque[set[int]] = deque(maxlen=_RECENT)
        self._expected: tuple[Keys, npt.NDArray[np.int64], set[int]] | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def marks(self, rows: pa.Table) -> pa.Array:
        """The marks of a batch that bronze is about to commit: see :meth:`landed`.

        ``rows`` has event_id, kafka_time, partition, offset.
        """
        self._align()
        if not rows.num_rows:
            return pa.array([], pa.bool_())
        asked = self._event_keys.of(rows)
        slots = self.slots.of(asked.time)
        needed = self.slots.near(slots)
        missing = self._hold_ahead(needed - self._ids.held)
        found = self._look_back(rows, slots, missing) if missing else Seen()
        held = self._ids.near(asked) | found.near(asked, self.slots.within)
        self._expected = asked, slots, needed
        return pa.array(copies(asked, rows, held, self.slots.within))

    def landed(self, version: int) -> None:
        """Bronze has committed the batch that was marked last, as this version.

        Without it, after a commit that failed say, what bronze gained is read from its log.
        """
        expected, self._expected = self._expected, None
        if version != self._version + 1:
            return
        self._version = version
        if expected:
            asked, slots, needed = expected
            self._recent.append(needed)
            self._remember(asked, slots)
            self._came += len(asked)

    def maintain(self) -> None:
        """Between batches: merge some of what is on disk, and save where it is due."""
        if self._is_open:
            self._ids.tidy(self._came)
            self._came = 0
            every = self._bronze.settings.table.checkpoint_interval
            if crossed(self._saved, self._version, every):
                self.persist()

    def persist(self) -> None:
        """Save what is held, so that a start reads no more than what came since."""
        if not self._is_open or self._version in {self._saved, _NOTHING}:
            return
        self._ids.save(
            {
                **self._like(),
                "version": self._version,
                "time": commit_time(self._bronze.uri, self._version),
                "newest": self._newest,
                "recent": [sorted(slots) for slots in self._recent],
            }
        )
        self._saved = self._version

    def _like(self) -> dict[str, Any]:
        """What a store must have been saved with to be of use: DuckDB may hash otherwise later."""
        return {
            "bronze": str(self._bronze.dt.metadata().id),
            "within": self.slots.within,
            "hash": duckdb.__version__,
        }

    def _start_over(self) -> None:
        """Hold nothing: what is needed is read from bronze as it is needed."""
        self._ids.clear()
        self._version = self._saved = _NOTHING
        self._newest, self._expected = -NEVER, None
        self._recent.clear()

    def _align(self) -> None:
        """Hold what bronze has now: go on from what is held, or begin again."""
        reason = ""
        try:
            if not self._is_open:
                self._is_open = True
                reason = self._open()
            if not reason and self._version != self._bronze.version:
                self._catch_up()
        except TableDamaged as damage:
            reason = damage.fault
        except (FileNotFoundError, RunDamaged) as error:
            reason = str(error)
        if reason:
            told = {"table": f"bronze.{Path(self._bronze.uri).name}", "reason": reason}
            log.warning("event ids are read from bronze again", **told)
            self._start_over()
        self._version = self._bronze.version

    def _open(self) -> str:
        """Hold what was saved; why it is of no use, empty where it is, or where there is none."""
        record = self._ids.load()
        if not record:
            self._version = self._bronze.version
            return ""
        return self._believe(record)

    def _believe(self, record: Mapping[str, Any]) -> str:
        like, version = self._like(), int(record["version"])
        if record["bronze"] != like["bronze"]:
            return "what was saved is of another bronze table"
        if any(record[key] != value for key, value in like.items()):
            return "what was saved is of another horizon, or hashed otherwise"
        if version > self._bronze.version:
            return (
                f"what was saved is of version {version}, and bronze is at {self._bronze.version}"
            )
        time = commit_time(self._bronze.uri, version)
        if time is None or time != record["time"]:
            return f"bronze's log no longer has the version {version} that was saved"
        self._version = self._saved = version
        self._newest = int(record["newest"])
        self._recent.extend(set(slots) for slots in record["recent"])
        return ""

    def _catch_up(self) -> None:
        """Take in what bronze gained since the version that is held."""
        target = self._bronze.version
        for step in increments(self._bronze.uri, self._version, target, _TOLD):
            if step.files:
                for part in self._keys.read(step.files):
                    slots = self.slots.of(part.time)
                    needed = self.slots.near(slots)
                    self._hold_ahead(needed - self._ids.held)
                    self._recent.append(needed)
                    self._remember(part, slots)
                self._ids.tidy()

    def _hold_ahead(self, missing: set[int]) -> set[int]:
        """Slots above all that bronze has are held as they are, empty; the others."""
        ahead = {slot for slot in missing if slot * self.slots.width > self._newest}
        self._ids.held |= ahead
        return missing - ahead

    def _look_back(self, rows: pa.Table, slots: npt.NDArray[np.int64], missing: set[int]) -> Seen:
        """Hold slots that are lacking; or give what bronze has of these event_ids."""
        spans = self.slots.spans(missing)
        files, self._newest = self._keys.files(spans)
        size = self._keys.count(files, spans)
        again = any(missing & needed for needed in self._recent)
        wanting = np.isin(slots, [*self.slots.near(np.array([*missing]))])
        is_worth_it = again or _FEW * np.count_nonzero(wanting) >= len(slots) or not size
        found = Seen()
        if is_worth_it and len(self._ids) + size <= MOST_KEYS:
            self._ids.held |= missing
            done = 0
            for part in self._keys.read(files, spans) if size else ():
                self._add(part, self.slots.of(part.time))
                done, before = done + len(part), done
                if size > _TOLD and crossed(before, done, _TOLD):
                    log.info("reading event ids from bronze", keys=done, of=size)
            self._ids.tidy()
        else:
            asked = rows.select(["event_id"]).filter(pa.array(wanting))
            for part in self._keys.among(asked, files, spans):
                found.add(part)
        return found

    def _remember(self, asked: Keys, slots: npt.NDArray[np.int64]) -> None:
        """Hold what lies in slots that are held whole, and let go of what recent batches left."""
        self._add(asked, slots)
        self._newest = max(self._newest, int(asked.time.max()))
        left, counts = self._ids.held.difference(*self._recent), self._ids.by_slot()
        size = sum(counts[slot] for slot in self._ids.held)
        if 2 * sum(counts[slot] for slot in left) > size:
            self._ids.drop(left)
        if size > MOST_KEYS:
            self._ids.drop(_oldest_beyond(counts, self._ids.held))

    def _add(self, keys: Keys, slots: npt.NDArray[np.int64]) -> None:
        there = counted(slots).keys()
        whole = [slot for slot in there if slot in self._ids.held]
        if len(whole) < len(there):
            keys = keys.where(np.isin(slots, whole))
        self._ids.add(keys)


def _oldest_beyond(counts: Mapping[int, int], held: set[int]) -> set[int]:
    """The oldest slots, so many that the others hold no more keys than they may."""
    size, chosen = sum(counts.get(slot, 0) for slot in held), set()
    for slot in sorted(held):
        if size <= MOST_KEYS:
            break
        size -= counts.get(slot, 0)
        chosen.add(slot)
    return chosen
