"""Follow a replication slot: read without consuming, publish, wait for Kafka, then advance.

The capture advances to marks alone: short texts that it writes into the server's log
(``pg_logical_emit_message``), which come back through the slot between two transactions.
A mark is written twice, and counts where nothing came between the two: to begin again at
the place of the first, where it ends, is to be sent the second before all else.

Worked example. The state stands at mark A. The changes 41 to 45 are read and sent, then
the capture writes mark B, and reads it.

- Before: state and slot are at A. What stands before B in the log is read and sent.
- Kafka acknowledges, the state is written at B. Crash here. The slot is still at A.
- After: the next run begins at B, and B comes first. On a server that was put back to an
  image from before B it does not, whatever has been committed since, and the capture refuses.
"""

from __future__ import annotations

import time
import uuid
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
    Mark,
    Relation,
    RowChange,
    Truncate,
    decode,
)
from producers.cdc.plan import Run
from producers.cdc.relation import columns_then
from producers.cdc.resend import Resend, resending
from producers.cdc.server import lsn_text, other_history
from producers.cdc.slot import begin, check_slot, replication
from producers.cdc.state import State
from producers.cdc.steps import Step
from producers.cdc.stream import Stream
from producers.cdc.table import CannotCapture, check, describe, same

CONFIRM_SECONDS = 0.5
IDLE_SECONDS = 0.1
LOOK_SECONDS = 10.0
STOP_SECONDS = 5.0
QUIET_BYTES = 2**20
"""So much of the log without a change of ours may be kept for us."""
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
        with resending(work) as again:
            Follower(work, state, again).follow()


class Follower:
    """Reads a slot's messages and sends the changes, each with its place in the commit order."""

    def __init__(self, work: Run, state: State, again: Resend | None = None) -> None:
        self.work, self.state, self.plan, self.again = work, state, work.plan, again
        self.events = work.events(state.generation)
        self.begin = Begin(0, 0, 0)
        self.index, self.is_within = 0, False
        """The place in the current transaction, and whether it is still open."""
        self.is_behind = False
        """Whether something was read that the state does not have."""
        self.asked, self.is_half, self.first = "", False, 0
        """The mark that is on its way; whether its first half came, and where, if just now."""
        self.oldest = 0
        """The oldest transaction that was open when that mark was written."""
        self.is_done = False
        self.expected = state.marker
        """The mark that must come first."""
        self.confirmed = self.looked = time.monotonic()

    def follow(self) -> None:
        """Read until the stop, or until everything that was there is captured."""
        section, stop, ends = self.plan.section, self.plan.stop, 0.0
        with closing(replication(self.work)) as connection:
            start, name = self.state.position, section.publication
            self.stream = stream = Stream(connection, section.slot, start, name)
            self.events.sink.beat = stream.beat
            self._look()
            self._mark()
            try:
                while not self.is_done:
                    message = stream.read(0)
                    if message is None:
                        self._rest()
                        message = stream.read(IDLE_SECONDS)
                    if message is not None:
                        self._take(*message)
                    elif self.expected and stream.end > self.state.position:
                        raise other_history(self.state, self.plan.anew)
                    if stop.is_set():
                        ends = ends or time.monotonic() + STOP_SECONDS
                        self._mark()
                        if time.monotonic() > ends:
                            break  # in a long transaction: the next run reads it again
                self.events.sink.settle()
            finally:
                self.events.sink.beat = lambda: None

    def _take(self, lsn: int, payload: bytes) -> None:
        match decode(payload):
            case Mark(_, "lakehouse", _) as mark:
                self._marked(mark)
            case Begin() if self.expected:
                raise other_history(self.state, self.plan.anew)
            case RowChange() as change if change.oid == self.events.table.oid:
                self._row(change, lsn)
            case Begin() as begin:
                self._send_again(begin.commit_lsn)
                self.begin, self.index, self.is_within, self.first = begin, 0, True, 0
            case Commit():
                self.is_within, self.is_behind = False, True
                self.work.summary.transactions += 1
                self._rest()
            case Relation() as relation if relation.oid == self.events.table.oid:
                self._relation(relation)
            case Truncate(oids) if self.events.table.oid in oids:
                self._truncate(lsn)

    def _mark(self) -> None:
        """Write a mark into the server's log, if none is on its way."""
        if self.asked:
            return
        self.asked = uuid.uuid4().hex
        self.oldest = self.work.mark(self.asked)

    def _marked(self, mark: Mark) -> None:
        """Take a mark: the expected one proves the history, ours says how far was read."""
        token = mark.content.decode("ascii", "replace")
        if self.expected:
            if token != self.expected:
                raise other_history(self.state, self.plan.anew)
            self.expected = ""
        elif token == self.asked and not self.first and not self.is_half:
            self.first, self.is_half = mark.lsn, True
        elif token == self.asked:
            first, self.asked, self.first, self.is_half = self.first, "", 0, False
            if not first:  # a transaction came between the two
                self._mark()
                return
            self._send_again(first)
            self._confirm(first, token)
            self.is_done = self.plan.available_now or self.plan.stop.is_set()

    def _send_again(self, position: int) -> None:
        """Send rows whose place in the stream has come."""
        if self.again is not None:
            self.again.reach(position, self.events)

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
        work, table = self.work, self.events.table
        try:
            columns = columns_then(work.connection, table, relation, self.plan, self.state)
            table = replace(table, columns=columns, full_identity=relation.full_identity)
            check(table, self.plan.row)
            if not relation.full_identity:
                raise CannotCapture(
                    table.qualified,
                    "its replica identity is no longer FULL",
                    f"ALTER TABLE {table.qualified} REPLICA IDENTITY FULL, then: {self.plan.anew}",
                )
        except CannotCapture:
            self.events.sink.settle()  # all before this is told; nothing after it is lost
            raise
        self.events.table = table

    def _rest(self) -> None:
        """Ask for a mark, and check slot and table, if it is time."""
        now = time.monotonic()
        since = now - self.confirmed
        is_far = self.stream.end - self.state.position > QUIET_BYTES  # other tables wrote that
        if (self.is_behind and since >= CONFIRM_SECONDS) or (is_far and since >= LOOK_SECONDS):
            self._mark()
        if now - self.looked >= LOOK_SECONDS:
            self._look()

    def _confirm(self, lsn: int, token: str) -> None:
        """Wait for Kafka, write the state, advance the slot: in this order."""
        summary = self.work.summary
        summary.heard = max(summary.heard, self.stream.end, lsn)
        self.state = self.work.reached(self.state, lsn, token, self.oldest)
        self.stream.confirm(lsn)
        failpoint.reach(Step.SLOT_ADVANCED)
        self.confirmed, self.is_behind = time.monotonic(), False

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
        self.work.unchanged(self.state)


def _complete(new: Cells, old: Cells | None) -> Cells:
    """The new row, with unchanged long texts taken from the old row."""
    if old is None or UNCHANGED not in new:
        return new
    return [before if after is UNCHANGED else after for after, before in zip(new, old, strict=True)]
