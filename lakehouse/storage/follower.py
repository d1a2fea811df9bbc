"""The one class that follows bronze: silver, Parquet files and the ledger are kinds of it.

A follower records which commit of bronze it has applied in the same write as the work:
the table's id, the version, and that commit's time. A write that is tried again finds it.

Worked example. Bronze is at version 7, and a follower of two tables has applied 6.

- Before: ``country`` and ``client`` record 6. Increment 7 is read from bronze's log.
- ``country`` commits its rows, and 7 in the same commit. Crash here.
- After: the next start finds 7 and 6. It reads increment 7 for ``client`` alone; then
  both are at 7. A crash after that finds nothing left to do.

What only compacts bronze adds no rows and is stepped over. A follower starts over from
all of bronze, in parts, where it cannot go on: :func:`why_start_over` says when before it
begins, and an increment that cannot be read says so on the way (bronze's log is cut,
a file is gone, rows were removed or marked again). A crash while it starts over leaves
the old rows with the old record, or the record of NOTHING: the next start begins again.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import structlog
from deltalake import DeltaTable

from lakehouse.core.errors import TableDamaged, TableMissing
from lakehouse.core.metrics import STARTED_OVER
from lakehouse.core.paths import Lake
from lakehouse.core.progress import advance
from lakehouse.settings.settings import Settings
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.health import current
from lakehouse.storage.increments import Increment, increments, parts
from lakehouse.storage.log import commit_time
from lakehouse.storage.log_health import check_log
from lakehouse.storage.metadata import Time, Version

Say = Callable[[int, int], None]
log = structlog.get_logger("lakehouse")
NOTHING = -1
"""The version of what has applied nothing, or was starting over when it was cut."""
_PART = -(1 << 40)


def part_version(part: int) -> int:
    """What stands for a version where so many parts of all of bronze are applied, from 0 on."""
    return _PART + part


def rank(version: int) -> int:
    """Orders versions: NOTHING, then the parts of all of bronze, then bronze's versions."""
    return _PART - 1 if version == NOTHING else version


class Stopping(Exception):
    """A flow that was asked to stop does so between two increments; all it applied is kept."""


@dataclass(frozen=True)
class Applied:
    """A commit of bronze that is applied: the table's id, the version, its time in ms."""

    bronze: str
    version: Version = NOTHING
    time: Time | None = None
    """None where an earlier release did not record it, or nobody can tell."""

    @classmethod
    def read(cls, note: Mapping[str, Any] | None) -> Applied | None:
        """Back from a commit's metadata; None where it has none."""
        return cls(note["id"], int(note["version"]), note.get("time")) if note else None

    def note(self, table: str) -> dict[str, Any]:
        """As recorded in a commit's metadata; ``table`` is bronze's name."""
        return {"table": table, "id": self.bronze, "version": self.version, "time": self.time}


def version_of(applied: Applied | None) -> int:
    """The version that is applied; NOTHING where none is."""
    return applied.version if applied else NOTHING


def has_commit(uri: str, applied: Applied) -> bool:
    """Whether the bronze table at ``uri`` has the commit that was applied last."""
    if not DeltaTable.is_deltatable(uri):
        return False
    bronze, known = current(uri), commit_time(uri, applied.version)
    return (
        applied.bronze == str(bronze.metadata().id)
        and applied.version <= bronze.version()
        and (None in {known, applied.time} or known == applied.time)
    )


def why_start_over(
    uri: str,
    bronze: str,
    target: int,
    parts: Collection[Applied | None],
    state: Collection[Applied | None] = (),
    *,
    has_rows: bool,
) -> str:
    """Why a follower cannot go on from what its parts have applied; nothing where it can.

    ``bronze`` is the id that the table at ``uri`` has now, ``target`` the version to reach;
    ``state`` is what was recorded beside the parts and may lag behind them; ``has_rows``
    says whether there are rows.
    """
    records = {one for one in (*parts, *state) if one is not None}
    versions = {*map(version_of, parts)}
    if any(one.bronze != bronze for one in records):
        return "it is of another bronze table"
    if NOTHING in versions and (len(versions) > 1 or has_rows):
        return "a part of it has rows, and does not say of which version of bronze"
    if max(versions) > target:
        return f"it has applied version {max(versions)}, and bronze is at {target}"
    for one in records:
        held = commit_time(uri, one.version)
        if None not in {held, one.time} and held != one.time:
            return "bronze went back, and wrote other commits since"
    return ""


class Follower(ABC):
    """What is kept up to date with ``bronze.<product>``, held by this process.

    It has one part or more, each of which records what it has applied in its own write.
    ``most_rows`` bounds an increment; 0 gives each version apart.
    """

    def __init__(self, name: str, product: str, settings: Settings, most_rows: int) -> None:
        self.name, self.settings = name, settings
        self.bronze_uri, self._bronze = Lake(settings.lake.root).table(f"bronze.{product}"), product
        self.most_rows = most_rows
        self.bronze_id = ""
        self.stop = threading.Event()
        """Set: end by :class:`Stopping` before the next increment of many."""
        self.applied: dict[str, Applied | None] = {}
        """What each part has applied, as far as this process knows."""

    @abstractmethod
    def apply(self, step: Increment) -> None:
        """Take an increment into the parts that are behind it, and note it in :attr:`applied`."""

    @abstractmethod
    def start_over(self, target: int) -> None:
        """Take all of bronze in place of what is there: see :meth:`whole`."""

    @abstractmethod
    def has_rows(self) -> bool:
        """Whether any part has rows."""

    def changed(self) -> str:
        """Why what is there is of no use by the settings of now; nothing where it is."""
        return ""

    def state(self) -> Collection[Applied | None]:
        """What is recorded beside the parts, and may lag behind them."""
        return ()

    def maintain(self) -> None:  # noqa: B027  # some have nothing to care for
        """Between batches: compact and remove old files, as settings say."""

    def persist(self) -> None:  # noqa: B027  # most have each version on disk when it is applied
        """Write what is held in memory."""

    def settle(self) -> None:  # noqa: B027  # most have no thread of their own
        """Wait until nothing is written any more by a thread of the follower's own."""

    @property
    def version(self) -> int:
        """The bronze version that every part has applied."""
        return min(map(version_of, self.applied.values()))

    def at(self, version: int) -> Applied:
        """The record of a version of bronze as it is now."""
        return Applied(self.bronze_id, version, commit_time(self.bronze_uri, version))

    def note(self, applied: Applied) -> dict[str, Any]:
        """The metadata of a commit that applies it."""
        return {"source": applied.note(f"bronze.{self._bronze}"), "flow": self.name}

    def catch_up(self, upto: int | None = None) -> int:
        """Apply what bronze's log has gained; the version that is applied then.

        Raises TableMissing while bronze does not exist.
        """
        bronze = self.open_bronze()
        target = int(bronze.version()) if upto is None else upto
        if target != self.version:
            check_log(self.bronze_uri)
        reason = self.changed() or why_start_over(
            self.bronze_uri, self.bronze_id, target, self.applied.values(), self.state(),
            has_rows=self.version == NOTHING and self.has_rows(),
        )  # fmt: skip
        if not reason:
            try:
                self.follow(target)
            except FileNotFoundError as error:
                reason = f"bronze no longer has {error.filename or error}"
            except TableDamaged as error:
                reason = str(error)
        if reason:
            STARTED_OVER.labels(self.name).inc()
            log.warning("rebuilt from all of bronze", flow=self.name, version=target, reason=reason)
            self.start_over(target)
        return target

    def open_bronze(self) -> DeltaTable:
        """Bronze as it is now; its id is what is recorded from here on."""
        if not DeltaTable.is_deltatable(self.bronze_uri):
            name = self._bronze
            raise TableMissing(f"bronze.{name}", "does not exist yet", f"run {name}.bronze first")
        bronze = current(self.bronze_uri)
        self.bronze_id = str(bronze.metadata().id)
        return bronze

    def follow(self, target: int) -> None:
        """Bring parts that are behind to those ahead, then all to the target."""
        for stop in sorted({*map(version_of, self.applied.values()), target} - {self.version}):
            for step in self.steps(self.version, stop):
                self.apply(step)
                self.may_go_on(step)

    def may_go_on(self, step: Increment) -> None:
        """Raise Stopping after an increment where the flow is to stop."""
        if self.stop.is_set() and not step.is_last:
            raise Stopping

    def behind(self, version: int) -> list[str]:
        """The parts that have not applied this version."""
        return [name for name, one in self.applied.items() if version_of(one) < version]

    def steps(self, after: int, upto: int) -> Iterator[Increment]:
        """The increments between two versions."""
        return increments(self.bronze_uri, after, upto, self.most_rows)

    def whole(self, version: int, say: Say | None = None) -> Iterator[Increment]:
        """All of bronze at a version, a part at a time; the last alone completes it.

        The parts are the same whenever they are asked for, and each holds few dates.
        After each, ``say`` gets how many rows are done, of how many; else the progress line.
        """
        files = sorted(files_of(DeltaTable(self.bronze_uri, version=version)))
        most = self.most_rows or self.settings.silver.max_rows_per_fold
        if not say:
            advance(f"folding {self.name}", 0, 0)  # the first part may take long
        for number, (some, done, of) in enumerate(parts(files, most)):
            yield Increment(version, some, part=number, is_last=done == of)
            if say:
                say(done, of)
            elif not advance(f"folding {self.name}", done, of):
                log.info("folding again", flow=self.name, rows=done, of=of)

    def take(self, after: int, version: int, rows: pa.Table | None) -> None:
        """Apply the new versions of bronze after one, up to another; their rows may be at hand."""
        if rows is None or after != self.version:
            self.catch_up(version)
        else:
            if not self.bronze_id:
                self.open_bronze()
            self.apply(Increment(version, rows=rows))
