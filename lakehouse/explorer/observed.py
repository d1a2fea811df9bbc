"""One look at a lake for many who ask: each table is read again only where its version changed.

Pages and metrics ask an :class:`Observer`, which looks at most once a moment however many ask,
and not at all while nobody does. It reads logs and small tables, never a flow's process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from lakehouse.core.disk import Room, disks, room
from lakehouse.core.errors import LakehouseError
from lakehouse.core.lock import holder_of
from lakehouse.core.paths import Lake
from lakehouse.explorer.audits import Audit, audits
from lakehouse.explorer.catalogue import is_plain
from lakehouse.explorer.faults import Faults, faults_of
from lakehouse.explorer.freshness import Ages, Span, applied, landed, spans
from lakehouse.explorer.held import HeldCatalogue
from lakehouse.explorer.states import StateInfo, states
from lakehouse.explorer.status import Broker, Status, flow_statuses
from lakehouse.explorer.table_info import TableInfo
from lakehouse.ingest.ends import Ends
from lakehouse.model.flow import SilverFlow
from lakehouse.products.registry import contracts, flows
from lakehouse.settings.settings import Settings
from lakehouse.storage.faults import read_faults
from lakehouse.storage.log import commits, note_of, notes
from lakehouse.storage.log_health import Log

_MOMENT = 1.0
"""Seconds that a look holds for, at least ..."""
_SHARE = 10
"""... and so many times what it took: however large a lake, looking takes a tenth of one core."""
_RARELY = 10.0
"""Seconds after which rows of a table are counted again, where it changed."""
_RECENT = 120
"""Commits of bronze whose rows are told apart."""


@dataclass(frozen=True)
class Commit:
    """One commit of bronze that landed a batch."""

    version: int
    time: datetime
    rows: int
    quarantined: int
    late: int
    duplicates: int


@dataclass(frozen=True)
class Landing:
    """Bronze of one contract: its newest batches, and how far events have come."""

    recent: tuple[Commit, ...] = ()
    """The newest last."""
    watermark: datetime | None = None
    newest_event: datetime | None = None
    next: Mapping[int, int] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    landed: Ages | None = None
    applied: Mapping[str, Ages | None] = field(default_factory=dict)
    """Flow of silver → how old its newest events were when it had them."""


@dataclass(frozen=True)
class Seen:
    """A lake at one moment."""

    at: datetime
    tables: Mapping[str, TableInfo]
    faults: dict[str, str]
    """Table, or what else was asked → why it could not be read."""
    root: str = "."
    flows: tuple[Status, ...] = ()
    landings: dict[str, Landing] = field(default_factory=dict)
    states: tuple[StateInfo, ...] = ()
    quarantine: dict[str, Faults] = field(default_factory=dict)
    late: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Contract → late and duplicate rows, as the ledger has them."""
    audits: dict[str, tuple[Audit, ...]] = field(default_factory=dict)
    """Contract → its kept audits, the newest first."""
    disks: tuple[Room, ...] = ()
    locks: Mapping[str, str] = field(default_factory=dict)
    """Table that a process may write now → the flow that does."""
    seconds: float = 0.0
    """What the look took."""

    def state(self, tables: Iterable[str]) -> list[tuple[str, int, str]]:
        """Versions of tables: what is asked of them changes with these alone."""
        found = ((name, self.tables[name]) for name in tables if name in self.tables)
        return [(name, info.version, info.committed) for name, info in found]


class Observer:
    """Looks at one lake; any thread may ask, and those that ask together share a look.

    ``find`` gives the settings with the addresses of services that run now.
    """

    def __init__(self, settings: Settings, find: Callable[[Settings], Settings]) -> None:
        self._settings, self._find = settings, find
        self.lake, self.catalogue = Lake(settings.lake.root), HeldCatalogue(settings.lake.root)
        self._lock = threading.Lock()
        self._seen: Seen | None = None
        self._looked = 0.0
        self._held: dict[tuple[str, str], tuple[object, Any]] = {}
        self._at: dict[str, float] = {}
        self._broker = Broker()

    def look(self) -> Seen:
        """The lake as it is, or was a moment ago."""
        with self._lock:
            seen, since = self._seen, time.monotonic() - self._looked
            if seen is None or since > max(_MOMENT, _SHARE * seen.seconds):
                self._seen = seen = self._look()
                self._looked = time.monotonic()
            return seen

    def close(self) -> None:
        """End the connections to the broker."""
        self._broker.close()

    def _look(self) -> Seen:
        began, faults = time.perf_counter(), dict[str, str]()
        settings = self._find(self._settings)
        self._broker.use(settings.kafka)
        tables: dict[str, TableInfo] = {}
        for name in self.catalogue.names():
            with _told(faults, name):
                info = partial(self.catalogue.info, name)
                tables[name] = self._unless_same("info", name, self._version(name), info)
        seen = Seen(datetime.now(UTC), tables, faults, self.lake.root)
        for name in (name for name in contracts() if f"bronze.{name}" in tables):
            self._look_at(name, seen)
        rows: tuple[Status, ...] = ()
        if seen.landings:
            with _told(faults, "flows"):
                rows = tuple(flow_statuses(settings, self._broker, self.catalogue.newest))
        return replace(
            seen, flows=rows, states=tuple(states(self.lake, tables.values())),
            disks=self._disks(), locks=self._locks(), seconds=time.perf_counter() - began,
        )  # fmt: skip

    def _look_at(self, name: str, seen: Seen) -> None:
        """Add what a contract's own tables say."""
        faults, settings = seen.faults, self._settings.explorer
        with _told(faults, f"bronze.{name}"):
            table, asked_landing = f"bronze.{name}", partial(self._landing, name)
            landing = self._unless_same("landing", table, seen.state([table]), asked_landing)
            ages = {f.name: self._applied(f, landing, seen) for f in flows() if f.product == name
                    and isinstance(f, SilverFlow)}  # fmt: skip
            seen.landings[name] = replace(landing, applied=ages)
        if f"quarantine.{name}" in seen.tables:
            with _told(faults, f"quarantine.{name}"):
                asked = partial(faults_of, self.catalogue, name, settings)
                tables = [f"quarantine.{name}", f"bronze.{name}"]  # which says what was replayed
                seen.quarantine[name] = self._counted(tables, seen, asked)
        if f"ledger.{name}" in seen.tables:
            with _told(faults, f"ledger.{name}"):
                asked_late = partial(self._late, name)
                seen.late[name] = self._counted([f"ledger.{name}"], seen, asked_late)
        with _told(faults, f"audit.{name}"):
            seen.audits[name] = self._audits(name)

    def _unless_same(self, what: str, name: str, state: object, ask: Callable[[], Any]) -> Any:
        """The earlier answer, where the state is the same; else it is asked again."""
        held = self._held.get((what, name))
        if held is None or held[0] != state:
            self._held[what, name] = held = (state, ask())
        return held[1]

    def _counted(self, tables: Sequence[str], seen: Seen, ask: Callable[[], Any]) -> Any:
        """What rows of the first table say, as of now or of a moment ago."""
        at, now = self._at.get(tables[0], float("-inf")), time.monotonic()
        if now - at < _RARELY and ("rows", tables[0]) in self._held:
            return self._held["rows", tables[0]][1]
        self._at[tables[0]] = now
        return self._unless_same("rows", tables[0], seen.state(tables), ask)

    def _version(self, name: str) -> object:
        """What changes with a table: the newest entry of its log, and when that was written."""
        uri = self.lake.table(name)
        if is_plain(name):
            return Path(uri, "_taken.json").stat().st_mtime_ns
        return self.catalogue.state(name)

    def _landing(self, name: str) -> Landing:
        uri = self.lake.table(f"bronze.{name}")
        newest = self.catalogue.newest(uri) or 0
        recent = filter(None, map(_commit, islice(commits(uri, newest), _RECENT)))
        told = (note["ends"] for note in notes(commits(uri, newest)) if "ends" in note)
        ends = next((Ends.read(note) for note in told), None)
        found, files = tuple(reversed([*recent])), tuple(spans(uri, newest))
        if ends is None:
            return Landing(found)
        return Landing(found, ends.watermark, ends.newest, ends.next, files, landed(files))

    def _applied(self, flow: SilverFlow, landing: Landing, seen: Seen) -> Ages | None:
        tables = [name for name in map(flow.table, (a.name for a in flow.aggregates))
                  if name in seen.tables]  # fmt: skip
        state = (landing.spans, [seen.tables[name].version for name in tables])
        uris = [(self.lake.table(name), seen.tables[name].version) for name in tables]
        ages: Ages | None = self._unless_same(
            "ages", flow.name, state, lambda: applied(landing.spans, uris)
        )
        return ages

    def _late(self, name: str) -> tuple[int, int]:
        from lakehouse.explorer.sql import read  # noqa: PLC0415  # DuckDB loads slowly

        sql = (
            "SELECT CAST(coalesce(sum(late), 0) AS BIGINT) AS late, "
            f"CAST(coalesce(sum(duplicates), 0) AS BIGINT) AS duplicates FROM ledger.{name}"
        )
        [row] = read(self.catalogue, sql, self._settings.explorer).to_pylist()
        return row["late"], row["duplicates"]

    def _audits(self, name: str) -> tuple[Audit, ...]:
        uri = self.lake.table(f"audit.{name}")
        if not Path(uri, "_delta_log").is_dir():
            return ()
        found: tuple[Audit, ...] = self._unless_same(
            "audit", name, Log.of(uri).newest, lambda: audits(uri, self._settings.explorer)
        )
        return found

    def _disks(self) -> tuple[Room, ...]:
        with suppress(OSError):
            return tuple(room(folder) for folder in disks(Path(self.lake.root)))
        return ()

    def _locks(self) -> dict[str, str]:
        found = {}
        if self.lake.locks.is_dir():
            for path in self.lake.locks.glob("*.lock"):
                if holder := holder_of(path):
                    found[path.name.removesuffix(".lock")] = holder
        return found


def _commit(commit: Mapping[str, Any]) -> Commit | None:
    """A commit that landed a batch; None of another."""
    note = note_of(commit)
    if "rows" not in note or "ends" not in note:
        return None
    time = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
    counts = (note.get(key, 0) for key in ("rows", "quarantined", "late", "duplicates"))
    return Commit(commit["version"], time, *counts)


@contextmanager
def _told(faults: dict[str, str], name: str) -> Iterator[None]:
    """What cannot be read is said in its place, and ends nothing else."""
    try:
        with read_faults(name):
            yield
    except LakehouseError as error:
        faults[name] = f"{error.place}: {error.fault}"
    except OSError as error:
        faults[name] = f"cannot be read: {error.strerror}"
