"""What one run of a capture is to do, and its result."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from lakehouse.core import failpoint
from lakehouse.settings.sections import CapturedSettings
from lakehouse.settings.settings import Settings
from producers.cdc.events import Events
from producers.cdc.sink import Sink
from producers.cdc.state import Mode, State, state_path, write_state
from producers.cdc.steps import Step
from producers.cdc.table import Table, needed

SnapshotMode = Literal["initial", "never", "only"]


@dataclass(frozen=True)
class Plan:
    """The plan of a product's capture: mode, snapshot, and when it ends."""

    settings: Settings
    product: str
    contract: str
    row: type[msgspec.Struct]
    mode: Mode
    snapshot: SnapshotMode
    available_now: bool
    stop: threading.Event

    @property
    def section(self) -> CapturedSettings:
        """The product's settings."""
        return self.settings.captured(self.product)

    @property
    def path(self) -> Path:
        """The state's file."""
        return state_path(self.settings.lake.root, self.product)

    @property
    def anew(self) -> str:
        """The command that begins anew."""
        return (
            f"lakehouse capture {self.product} --mode {self.mode} --anew: "
            "it takes a new snapshot, and deletes what the table no longer has"
        )


@dataclass
class Run:
    """One connection of a capture, with its state, table, sink and plan."""

    plan: Plan
    connection: Any
    """An ordinary connection that commits each statement."""
    sink: Sink
    table: Table
    system: str
    database: str
    state: State | None
    summary: Summary

    def begun(self, generation: int) -> State:
        """Record that a snapshot has begun."""
        state = State(
            mode=self.plan.mode, table=self.table.qualified, oid=self.table.oid,
            key=self.table.key, columns=needed(self.table, self.plan.row),
            topic_id=self.sink.topic_id, system=self.system, database=self.database,
            generation=generation, snapshot="begun", position=0,
        )  # fmt: skip
        write_state(self.plan.path, state)
        return state

    def reached(self, state: State, position: int) -> State:
        """Record that everything below ``position`` is in Kafka."""
        self.sink.settle()
        failpoint.reach(Step.CHANGES_TAKEN)
        state = state.at(position)
        write_state(self.plan.path, state)
        failpoint.reach(Step.STATE_WRITTEN)
        self.summary.position = position
        self.summary.healthy = time.monotonic()
        return state

    def events(self, generation: int) -> Events:
        """The object that writes this snapshot's events."""
        return Events(self.sink, self.table, self.database, generation, self.summary.counts)


@dataclass
class Summary:
    """What a capture sent, and up to where."""

    mode: Mode
    counts: Counter[str] = field(default_factory=Counter)
    """Op, or ``tombstone`` → how many records."""
    transactions: int = 0
    position: int = 0
    sent: int = 0
    acknowledged: int = 0
    wal_held: int | None = None
    """Bytes of WAL that the server keeps for the slot."""
    reconnects: int = 0
    seconds: float = 0.0
    healthy: float = field(default_factory=time.monotonic)
    """Time of the last progress, by the monotonic clock."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("mode", "sent", "acknowledged", "transactions", "position", "wal_held")
        found = {name: getattr(self, name) for name in names}
        found |= {"reconnects": self.reconnects, "seconds": round(self.seconds, 2)}
        return {**found, "by_op": dict(sorted(self.counts.items()))}
