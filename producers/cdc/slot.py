"""Follow a replication slot: read without consuming, publish, wait for Kafka, then advance."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import structlog

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.core.postgres import Slot, connect, slot_of
from lakehouse.core.sections import CapturedSettings
from producers.cdc.events import Place, now_ms
from producers.cdc.pgoutput import (
    UNCHANGED,
    Begin,
    Cells,
    Commit,
    Relation,
    RowChange,
    Truncate,
    decode,
)  # fmt: skip
from producers.cdc.plan import Run
from producers.cdc.snapshot import moment, take_snapshot
from producers.cdc.state import State
from producers.cdc.stream import Stream
from producers.cdc.table import CannotCapture, Column, check, describe, same

CONFIRM_SECONDS = 0.5
IDLE_SECONDS = 0.1
LOOK_SECONDS = 10.0
PATIENT_SECONDS = 3.0
log = structlog.get_logger()


def run(work: Run) -> None:
    """Begin where there is no beginning yet, then follow the slot until the plan says stop."""
    if not work.table.full_identity:
        raise CannotCapture(
            work.table.qualified,
            "its replica identity is not FULL: an update would not tell the row as it was, "
            "nor a long text that it leaves alone",
            f"ALTER TABLE {work.table.qualified} REPLICA IDENTITY FULL",
        )
    state = work.state
    if state is None or state.snapshot == "begun":
        state = _begin(work, state)
    else:
        _check_slot(work, state)
    if state is not None:
        _Follower(work, state).follow()


def forget(connection: Any, section: CapturedSettings) -> None:
    """Drop the slot, if there is one. A reader that was killed may hold it a moment longer."""
    deadline = time.monotonic() + PATIENT_SECONDS
    while (slot := slot_of(connection, section.slot)) is not None and slot.active_pid:
        if time.monotonic() < deadline:
            time.sleep(0.1)
            continue
        raise CannotCapture(
            f"replication slot {section.slot}",
            f"is in use by process {slot.active_pid} of the server",
            "stop the capture that uses it, or name another slot in the product's section",
        )
    if slot is not None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_drop_replication_slot(%s)", (section.slot,))


def _begin(work: Run, state: State | None) -> State | None:
    """Make the slot, and take the snapshot that begins where it does; None when stopped."""
    section, plan = work.plan.section, work.plan
    if state is None and slot_of(work.connection, section.slot) is not None:
        raise CannotCapture(
            f"replication slot {section.slot}",
            f"is there, and this lake ({plan.settings.lake.root}) knows nothing of it",
            f"name another slot in [{plan.product}] slot, or drop it: {plan.anew}",
        )
    forget(work.connection, section)
    _ensure_publication(work)
    generation = now_ms()
    state = work.begun(generation)
    with closing(_replication(work)) as replication:
        made = _make_slot(work, replication)
        if made is None:
            return None
        point, snapshot = made
        failpoint.reach(Step.SLOT_MADE)
        if plan.snapshot == "initial":
            log.info("snapshot", table=work.table.qualified, mode="slot")
            with moment(plan.settings.postgres, work.table, snapshot) as reader:
                where = Place(position=point, index=0, ms=generation, lsn=point, snapshot=True)
                if not take_snapshot(reader, work.events(generation), where, plan.stop):
                    return None
    return work.reached(state, point)


def _replication(work: Run) -> Any:
    """A connection that speaks the replication protocol."""
    return connect(work.plan.settings.postgres, replication="database")


def _make_slot(work: Run, replication: Any) -> tuple[int, str] | None:
    """The slot's first LSN and the name of the snapshot at it; None when stopped meanwhile.

    Postgres waits for every transaction that is open now: other threads may stop that.
    """
    name = work.plan.section.slot
    found: list[Any] = []

    def make() -> None:
        try:
            with replication.cursor() as cursor:
                cursor.execute(f'CREATE_REPLICATION_SLOT "{name}" LOGICAL pgoutput EXPORT_SNAPSHOT')
                found.append(cursor.fetchone())
        except psycopg.Error as error:
            found.append(error)

    thread = threading.Thread(target=make, name="make-slot", daemon=True)
    thread.start()
    thread.join(PATIENT_SECONDS)
    if thread.is_alive():
        log.warning("waiting for transactions that are open", slot=name)
    while thread.is_alive():
        thread.join(0.1)
        if work.plan.stop.is_set():
            replication.cancel()
            thread.join()
    if work.plan.stop.is_set():
        return None
    if isinstance(found[0], psycopg.Error):
        if replication.closed:
            raise found[0]
        raise CannotCapture(
            f"replication slot {name}",
            f"cannot be made: {str(found[0]).strip()}",
            "set wal_level = logical and max_replication_slots on the server, let the role "
            "replicate, or use --mode poll",
        )
    _, point, snapshot, _ = found[0]
    return lsn_of(point), snapshot


def _ensure_publication(work: Run) -> None:
    """A publication that tells every change of every row and column of the table."""
    name, table = work.plan.section.publication, work.table
    with work.connection.cursor() as cursor:
        cursor.execute(
            "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate "
            "FROM pg_publication WHERE pubname = %s",
            (name,),
        )
        known = cursor.fetchone()
        try:
            if known is None:
                cursor.execute(f'CREATE PUBLICATION "{name}" FOR TABLE ONLY {table.quoted}')
                return
            if not _is_published(work):
                cursor.execute(f'ALTER PUBLICATION "{name}" ADD TABLE ONLY {table.quoted}')
        except psycopg.errors.InsufficientPrivilege as error:
            raise CannotCapture(
                f"publication {name}",
                f"cannot be made: {str(error).strip()}",
                f"let its owner run: CREATE PUBLICATION {name} FOR TABLE {table.qualified}",
            ) from None
        if not known[0]:
            raise CannotCapture(
                f"publication {name}",
                "does not publish every kind of change",
                f"ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')",
            )


def _is_published(work: Run) -> bool:
    """Whether the publication has the whole table."""
    with work.connection.cursor() as cursor:
        part = "rowfilter IS NOT NULL" if work.connection.info.server_version >= 150000 else "false"
        cursor.execute(
            f"SELECT {part} FROM pg_publication_tables "
            "WHERE pubname = %s AND schemaname = %s AND tablename = %s",
            (work.plan.section.publication, work.table.schema, work.table.name),
        )
        found = cursor.fetchone()
    if found is not None and found[0]:
        raise CannotCapture(
            f"publication {work.plan.section.publication}",
            "filters rows",
            "name a publication of the whole table in the product's section",
        )
    return found is not None


def _check_slot(work: Run, state: State) -> Slot:
    """The slot, which holds all that this lake has not got."""
    name, anew = work.plan.section.slot, work.plan.anew
    place = f"replication slot {name}"
    slot = slot_of(work.connection, name)
    if slot is None:
        raise CannotCapture(place, "is gone, and with it the changes since the last run", anew)
    if slot.wal_status == "lost":
        raise CannotCapture(place, "was left behind: the server has removed its WAL", anew)
    if slot.plugin != "pgoutput" or slot.database != work.database:
        raise CannotCapture(
            place,
            f"is {slot.plugin}'s, of database {slot.database}",
            "name another slot in the product's section",
        )
    if slot.confirmed > state.position:
        raise CannotCapture(
            place,
            f"stands at {lsn_text(slot.confirmed)}, and Kafka has changes up to "
            f"{lsn_text(state.position)}: another reader took those between",
            anew,
        )
    return slot


class _Follower:
    """Reads a slot's messages and tells the changes, each at its place in the commit order."""

    def __init__(self, work: Run, state: State) -> None:
        self.work, self.state, self.plan = work, state, work.plan
        self.events = work.events(state.generation)
        self.begin = Begin(0, 0, 0)
        self.index, self.is_within = 0, False
        """The place in the transaction begun last, and whether it goes on."""
        self.reached = state.position
        """The end of the last transaction that was read whole."""
        self.confirmed = self.looked = time.monotonic()

    def follow(self) -> None:
        """Until told to stop, or until what was there is captured."""
        section, stop = self.plan.section, self.plan.stop
        target = self._flushed() if self.plan.available_now else None
        with closing(_replication(self.work)) as replication:
            start, name = self.state.position, section.publication
            self.stream = stream = Stream(replication, section.slot, start, name)
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
        """Every key that the topic holds alive is deleted, at this one place."""
        self.events.sink.settle()
        where = self._place(lsn)
        for key in self.events.sink.live_keys(self.events.table.key).values():
            self.events.delete(key, where)

    def _relation(self, relation: Relation) -> None:
        """The table's columns from here on; CannotCapture where the contract is not kept."""
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
        """Advance and look around, when it is time."""
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
        """The slot and the table as the server has them now: said, and stopped at where wrong."""
        self.looked = self.work.summary.healthy = time.monotonic()
        slot = _check_slot(self.work, self.state)
        summary, postgres = self.work.summary, self.plan.settings.postgres
        summary.wal_held = slot.held
        tell = log.warning if slot.held > postgres.wal_limit_mb * 2**20 else log.info
        tell(
            "capture", slot=self.plan.section.slot, position=lsn_text(self.state.position),
            wal_held=slot.held, sent=self.events.sink.sent, **summary.counts,
        )  # fmt: skip
        now = describe(self.work.connection, self.events.table.qualified)
        same(now, self.state, self.plan.row, self.plan.anew)
        if not _is_published(self.work):
            raise CannotCapture(
                f"publication {self.plan.section.publication}",
                f"no longer has {self.events.table.qualified}",
                f"changes since may be lost: {self.plan.anew}",
            )


def _complete(new: Cells, old: Cells | None) -> Cells:
    """The new row, its unchanged long texts from the old one."""
    if old is None or UNCHANGED not in new:
        return new
    return [before if after is UNCHANGED else after for after, before in zip(new, old, strict=True)]


def lsn_of(text: str) -> int:
    """``16/B374D848`` as a number."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(lsn: int) -> str:
    """A number as ``16/B374D848``."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
