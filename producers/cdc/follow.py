"""Follow a replication slot: read without consuming, publish, wait for Kafka, then advance."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import structlog

from lakehouse.core import failpoint
from producers.cdc.events import Place
from producers.cdc.pgoutput import (
    UNCHANGED,
    Begin,
    Cells,
    Commit,
    Relation,
    RowChange,
    Truncate,
    decode,
)
from producers.cdc.plan import Run
from producers.cdc.slot import begin, check_slot, is_published, lsn_of, lsn_text, replication
from producers.cdc.state import State
from producers.cdc.steps import Step
from producers.cdc.stream import Stream
from producers.cdc.table import CannotCapture, Column, check, describe, same

CONFIRM_SECONDS = 0.5
IDLE_SECONDS = 0.1
LOOK_SECONDS = 10.0
log = structlog.get_logger()


def run(work: Run) -> None:
    """Create slot and snapshot if there are none yet, then follow the slot until the stop."""
    if not work.table.full_identity:
        raise CannotCapture(
            work.table.qualified,
            "its replica identity is not FULL: an update would not tell the row as it was, "
            "nor a long text that it leaves alone",
            f"ALTER TABLE {work.table.qualified} REPLICA IDENTITY FULL",
        )
    state = work.state
    if state is None or state.snapshot == "begun":
        state = begin(work, state)
    else:
        check_slot(work, state)
    if state is not None:
        Follower(work, state).follow()


class Follower:
    """Reads a slot's messages and sends the changes, each with its place in the commit order."""

    def __init__(self, work: Run, state: State) -> None:
        self.work, self.state, self.plan = work, state, work.plan
        self.events = work.events(state.generation)
        self.begin = Begin(0, 0, 0)
        self.index, self.is_within = 0, False
        """The place in the current transaction, and whether it is still open."""
        self.reached = state.position
        """The end of the last transaction that was read completely."""
        self.confirmed = self.looked = time.monotonic()

    def follow(self) -> None:
        """Read until the stop, or until everything that was there is captured."""
        section, stop = self.plan.section, self.plan.stop
        target = self._flushed() if self.plan.available_now else None
        with closing(replication(self.work)) as connection:
            start, name = self.state.position, section.publication
            self.stream = stream = Stream(connection, section.slot, start, name)
            self.events.sink.beat = stream.beat
            self._look()
            try:
                while not stop.is_set():
                    message = stream.read(0)
                    if message is None:
                        self._rest(idle=True)
                        if target is not None:
                            if not self.is_within and max(stream.end, self.reached) >= target:
                                break
                            stream.beat(ask=True)
                        message = stream.read(IDLE_SECONDS)
                    if message is not None:
                        self._take(*message)
                self._confirm()
            finally:
                self.events.sink.beat = lambda: None

    def _flushed(self) -> int:
        with self.work.connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_flush_lsn()")
            return lsn_of(cursor.fetchone()[0])

    def _take(self, lsn: int, payload: bytes) -> None:
        match decode(payload):
            case RowChange() as change if change.oid == self.events.table.oid:
                self._row(change, lsn)
            case Begin() as begin:
                self.begin, self.index, self.is_within = begin, 0, True
            case Commit(end_lsn):
                self.reached, self.is_within = end_lsn, False
                self.work.summary.transactions += 1
                self._rest(idle=False)
            case Relation() as relation if relation.oid == self.events.table.oid:
                self._relation(relation)
            case Truncate(oids) if self.events.table.oid in oids:
                self._truncate(lsn)

    def _place(self, lsn: int) -> Place:
        """The next place of the transaction."""
        self.index += 1
        begin = self.begin
        return Place(
            position=begin.commit_lsn, index=self.index, ms=begin.commit_ms, xid=begin.xid, lsn=lsn
        )  # fmt: skip

    def _row(self, change: RowChange, lsn: int) -> None:
        put, table = self.events.put, self.events.table
        if change.new is None:
            put("d", table.row(change.old), None, self._place(lsn))
            return
        after = table.row(_complete(change.new, change.old))
        if change.old is None:
            put("c", None, after, self._place(lsn))
            return
        before = table.row(change.old)
        if table.key_of(before) == table.key_of(after):
            put("u", before, after, self._place(lsn))
        else:  # a row of another key: the old one is gone
            put("d", before, None, self._place(lsn))
            put("c", None, after, self._place(lsn))

    def _truncate(self, lsn: int) -> None:
        """Send a delete of every key that the topic has, all at this one place."""
        self.events.sink.settle()
        where = self._place(lsn)
        for key in self.events.sink.live_keys(self.events.table.key).values():
            self.events.delete(key, where)

    def _relation(self, relation: Relation) -> None:
        """Take the table's columns from here on; CannotCapture if the contract is broken."""
        bases = self._base_types(relation.type_ids)
        columns = [
            Column(name, bases.get(type_id, type_id))
            for name, type_id in zip(relation.columns, relation.type_ids, strict=True)
        ]
        table = replace(
            self.events.table, columns=tuple(columns), full_identity=relation.full_identity
        )
        try:
            check(table, self.plan.row)
            if not relation.full_identity:
                raise CannotCapture(
                    table.qualified,
                    "its replica identity is no longer FULL",
                    f"ALTER TABLE {table.qualified} REPLICA IDENTITY FULL, then: {self.plan.anew}",
                )
        except CannotCapture:
            self._confirm()  # all before this is told; nothing after it is lost
            raise
        self.events.table = table

    def _base_types(self, type_ids: tuple[int, ...]) -> dict[int, int]:
        with self.work.connection.cursor() as cursor:
            cursor.execute(
                "SELECT oid::bigint, typbasetype::bigint FROM pg_type "
                "WHERE oid = ANY(%s::oid[]) AND typtype = 'd'",
                (list(type_ids),),
            )
            return dict(cursor.fetchall())

    def _rest(self, *, idle: bool) -> None:
        """Confirm what was sent, and check slot and table, if it is time."""
        now = time.monotonic()
        if now - self.confirmed >= CONFIRM_SECONDS:
            self._confirm(idle=idle and now - self.confirmed >= LOOK_SECONDS)
        if now - self.looked >= LOOK_SECONDS:
            self._look()

    def _confirm(self, *, idle: bool = False) -> None:
        """Wait for Kafka, write the state, advance the slot: in this order."""
        reached = self.reached
        if idle and not self.is_within:  # what other tables wrote need not be kept for us
            reached = max(reached, self.stream.end)
        if reached > self.state.position:
            self.state = self.work.reached(self.state, reached)
            self.stream.confirm(reached)
            failpoint.reach(Step.SLOT_ADVANCED)
            self.confirmed = time.monotonic()

    def _look(self) -> None:
        """Check slot and table on the server: log their state, and raise if one is wrong."""
        self.looked = self.work.summary.healthy = time.monotonic()
        slot = check_slot(self.work, self.state)
        summary, postgres = self.work.summary, self.plan.settings.postgres
        summary.wal_held = slot.held
        tell = log.warning if slot.held > postgres.wal_limit_mb * 2**20 else log.info
        tell(
            "capture", slot=self.plan.section.slot, position=lsn_text(self.state.position),
            wal_held=slot.held, sent=self.events.sink.sent, **summary.counts,
        )  # fmt: skip
        now = describe(self.work.connection, self.events.table.qualified)
        same(now, self.state, self.plan.row, self.plan.anew)
        if not is_published(self.work):
            raise CannotCapture(
                f"publication {self.plan.section.publication}",
                f"no longer has {self.events.table.qualified}",
                f"changes since may be lost: {self.plan.anew}",
            )


def _complete(new: Cells, old: Cells | None) -> Cells:
    """The new row, with unchanged long texts taken from the old row."""
    if old is None or UNCHANGED not in new:
        return new
    return [before if after is UNCHANGED else after for after, before in zip(new, old, strict=True)]
