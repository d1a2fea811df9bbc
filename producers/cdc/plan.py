"""What one run of a capture is to do, and its result."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from lakehouse.core import failpoint
from lakehouse.settings.sections import CapturedSettings
from lakehouse.settings.settings import Settings
from producers.cdc.events import Events, now_ms
from producers.cdc.fault import forget_fault
from producers.cdc.publication import publication_rows
from producers.cdc.server import Server
from producers.cdc.sink import Sink
from producers.cdc.stamp import stamp_rows, statements
from producers.cdc.state import Mode, State, state_path, write_state
from producers.cdc.steps import Step
from producers.cdc.table import STAMP, CannotCapture, Table, needed
from producers.cdc.topic import Known
from producers.cdc.witness import check_unchanged, table_rows

log = structlog.get_logger()
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
    resend: bool = False
    """Whether rows whose last change was too large are sent again, as they are."""

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
        """The command that begins again."""
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
    server: Server
    state: State | None
    summary: Summary
    floor: int = 0
    """The generation of a state that was given up."""

    def meet_topic(self) -> tuple[Known, int]:
        """What the topic says, and a generation above all that it, or a state, ever had."""
        known = self.sink.read(self.table.key)
        before = max(known.greatest, self.floor, self.state.generation if self.state else 0)
        if known.expired:
            log.warning(
                "the topic no longer has its first records: rows that are known by those alone, "
                "and that the table no longer has, are not told as deleted",
                topic=self.plan.section.topic, expired=known.expired,
            )  # fmt: skip
        return known, max(now_ms(), before + 1)

    def mark(self, content: str) -> int:
        """Write a mark into the server's log, twice: slots send it, and it is soon on the disk.

        Gives the oldest transaction that was open then.
        """
        # before version 17 it is on the disk a moment later, with what others commit
        flush = ", true" if self.connection.info.server_version >= 170000 else ""
        one = f"pg_logical_emit_message(false, 'lakehouse', %(content)s{flush})"
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, "
                f"{one}, {one}", {"content": content},
            )  # fmt: skip
            return int(cursor.fetchone()[0])

    def watched(self, reader: Any = None) -> dict[str, str]:
        """What must stay as it is for every change to be seen, as it is now, or for ``reader``."""
        plan, table, connection = self.plan, self.table, reader or self.connection
        names = [*needed(table, plan.row)]
        found = table_rows(connection, table.oid, names)
        then = f", then {plan.anew}" if self.state else ", and start again"
        if plan.mode == "slot":
            name = plan.section.publication
            found["publication"] = publication_rows(connection, name, table, then)
        else:
            trigger = stamp_rows(connection, table, then)
            if trigger:
                found["trigger"] = trigger
            elif self.state is None or self.state.snapshot == "begun":
                raise CannotCapture(
                    table.qualified,
                    f"has a trigger for {STAMP} that does not fire where "
                    "session_replication_role is replica",
                    "run this, and start again:" + statements(table),
                )
        return found

    def unchanged(self, state: State, reader: Any = None) -> dict[str, str]:
        """The same; CannotCapture where something is not as ``state`` knows it."""
        now = self.watched(reader)
        places = {
            "publication": f"publication {self.plan.section.publication}",
            "columns": state.table,
            "trigger": f"the trigger for {STAMP} on {state.table}",
        }
        check_unchanged(state.witness, now, places, self.plan.anew)
        return now

    def alone(self, state: State, greatest: int) -> None:
        """Check that nobody's changes in the topic are taken for newer than all of ours."""
        if greatest > state.generation:
            raise CannotCapture(
                f"topic {self.plan.section.topic}",
                f"has a newer snapshot ({greatest}) than this capture's ({state.generation}): "
                "of another lake's capture, of --snapshot only, or of this lake's before its "
                f"state {self.plan.path} was put back. Readers take all that is sent from here "
                "for older",
                f"give each capture its own topic, or begin again: {self.plan.anew}",
            )

    def begun(self, generation: int, witness: dict[str, str]) -> State:
        """Record that a snapshot has begun."""
        state = State(
            mode=self.plan.mode, table=self.table.qualified, oid=self.table.oid,
            key=self.table.key, columns=needed(self.table, self.plan.row),
            topic_id=self.sink.topic_id, system=self.server.system,
            database=self.server.database, generation=generation, snapshot="begun", position=0,
            slot=self.plan.section.slot if self.plan.mode == "slot" else "", witness=witness,
            **self.origin(),
        )  # fmt: skip
        write_state(self.plan.path, state)
        return state

    def origin(self) -> dict[str, Any]:
        """What a state keeps of the server that answers now, to know it again."""
        return {"database_oid": self.server.database_oid, "timeline": self.server.timeline,
                "lsn": max(self.server.lsn, self.summary.heard)}  # fmt: skip

    def reached(
        self, state: State, position: int, marker: str = "", xid: int = 0, reader: Any = None
    ) -> State:
        """Record that everything below ``position`` is in Kafka; CannotCapture if that is unsure.

        What is watched is looked at after the changes were read, or as ``reader`` saw it
        who read them.
        """
        self.sink.settle()
        failpoint.reach(Step.CHANGES_TAKEN)
        self.alone(state, self.sink.between())
        witness = self.unchanged(state, reader)
        ends = {str(partition): end for partition, end in self.sink.ends.items()}
        state = state.at(
            position, marker=marker, xid=xid, ends=ends, witness=witness, **self.origin()
        )
        write_state(self.plan.path, state)
        forget_fault(self.plan.path)
        failpoint.reach(Step.STATE_WRITTEN)
        self.summary.position = position
        self.summary.healthy = time.monotonic()
        return state

    def events(self, generation: int) -> Events:
        """The object that writes this snapshot's events."""
        database = self.server.database
        return Events(self.sink, self.table, database, generation, self.summary.counts)


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
    heard: int = 0
    """The furthest place of the server's log that was heard of."""
    reconnects: int = 0
    unfinished: str = ""
    """What a stop left undone, and what to do."""
    seconds: float = 0.0
    healthy: float = field(default_factory=time.monotonic)
    """Time of the last progress, by the monotonic clock."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = (
            "mode", "sent", "acknowledged", "transactions", "position", "wal_held", "unfinished"
        )  # fmt: skip
        found = {name: getattr(self, name) for name in names}
        found |= {"reconnects": self.reconnects, "seconds": round(self.seconds, 2)}
        return {**found, "by_op": dict(sorted(self.counts.items()))}
