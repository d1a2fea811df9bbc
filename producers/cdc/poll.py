"""Mode poll: read rows by the transaction that wrote them, up to the oldest open one.

Every transaction below the oldest open one has ended, so its rows are visible now or never will
be. A transaction that commits late is therefore not skipped, and the later state of a key
always has the higher transaction.

A server that crashes forgets what was not on its disk, and gives the same transaction ids
again. So a look counts only once the log is on the disk up to where it was after the look's
snapshot. Worked example: a transaction 90 was rolled back, and the look's position is 91.

- Before: the log is on the disk up to 90's rollback; then the position is written.
- Crash here. The server knows that 90 was used, and gives 91 next.
- After: 91 is read. Without the wait, 90 could have been given again, and never been read.

What it cannot see: deleted and truncated rows, and the old key of a row whose key changed. A
server that was put back is known by a row of our own: :mod:`producers.cdc.own_row`.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.sql import identifier, text
from producers.cdc.events import Place, now_ms
from producers.cdc.open_transactions import oldest
from producers.cdc.own_row import NAME, OwnRow
from producers.cdc.plan import Run
from producers.cdc.server import same_history, server_of
from producers.cdc.snapshot import columns_of, moment, take_snapshot, text_cursor
from producers.cdc.state import State
from producers.cdc.table import STAMP, CannotCapture, describe, same

TELL_SECONDS = 10.0
FLUSH_SECONDS = 0.05
UNKNOWN = (
    f"; nor that the server was put back, once it has gone on since, for this role may not keep a "
    f"row of its own in {NAME}, beside the table"
)
log = structlog.get_logger()


def run(work: Run) -> None:
    """Take a snapshot if there is none yet, then poll until the stop."""
    plan, state, own = work.plan, work.state, OwnRow(work.connection, work.table)
    log.warning(
        "mode poll tells inserts, and updates that keep the key; not deletes, TRUNCATE, nor the "
        "old key of a changed one" + ("" if own.is_kept else UNKNOWN),
        table=work.table.qualified,
    )
    if state is None or state.snapshot == "begun":
        state = _begin(work, own)
    told, target, began = 0.0, 0, time.monotonic()
    while state is not None and not plan.stop.is_set():
        state, newest = _look(work, state, own)
        target = target or newest
        waits = newest - state.position
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            log.info("capture", mode="poll", position=state.position, transactions_above=waits,
                     sent=work.sink.sent, **work.summary.counts)  # fmt: skip
            if waits and (blocker := oldest(work.connection)):
                log.warning("changes wait for an open transaction", waits_for=str(blocker))
        if plan.available_now:
            if state.position >= target:
                return
            _give_up(work, began)
            plan.stop.wait(AGAIN_SECONDS)
        else:
            plan.stop.wait(plan.section.poll_interval.total_seconds())


AGAIN_SECONDS = 0.5


def _give_up(work: Run, began: float) -> None:
    """ServiceUnavailable, once what is there has waited for too long."""
    if time.monotonic() - began < work.plan.settings.services.patience.total_seconds():
        return
    blocker = oldest(work.connection)
    raise ServiceUnavailable(
        work.table.qualified,
        f"has changes that must wait for an open transaction: {blocker or 'it is gone by now'}",
        blocker.remedy if blocker else "start again",
    )


def _begin(work: Run, own: OwnRow) -> State | None:
    """Take the first snapshot; None if stopped."""
    known, generation = work.meet_topic()
    with moment(work.plan.settings.postgres, work.table) as reader:
        horizon, _ = _horizon(reader)
        state = work.begun(generation, work.watched(reader))
        work.server = _on_disk(work, reader)
        if work.plan.snapshot == "initial":
            log.info("snapshot", table=work.table.qualified, mode="poll")
            where = Place(position=horizon - 1, index=0, ms=now_ms(), snapshot=True)
            if not take_snapshot(reader, work, generation, where, known.live):
                return None
        return work.reached(state, horizon, own.renewed(""), reader=reader)


def _look(work: Run, state: State, own: OwnRow) -> tuple[State, int]:
    """Send what was written since the last look, by transactions that have ended.

    Gives the new state, and the next transaction: what those below it and above the state
    wrote has to wait for an open one.
    """
    with moment(work.plan.settings.postgres, work.table) as reader:
        now = describe(reader, state.table)
        work.table = same(now, state, work.plan.row, work.plan.anew)
        horizon, newest = _horizon(reader)
        server = server_of(reader)
        same_history(server, state, work.summary.heard, work.plan.anew)
        if newest < state.position:
            raise CannotCapture(
                f"{state.table} in {state.database}",
                f"is older than what was captured of it: transaction {newest}, not "
                f"{state.position}: a backup was restored",
                work.plan.anew,
            )
        own.check(reader, state, work.plan.anew)
        work.unchanged(state, reader)
        work.summary.healthy = time.monotonic()
        if own.is_all(state.position, newest):
            return state, state.position
        if horizon > state.position:
            work.server = _on_disk(work, reader)
            _send(work, state, reader, horizon)
            state = work.reached(state, horizon, own.renewed(state.marker), reader=reader)
    return state, newest


def _on_disk(work: Run, reader: Any) -> Any:
    """Wait until all that the reader's snapshot saw is on the server's disk; the server then."""
    with reader.cursor() as cursor:
        cursor.execute("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
        target = cursor.fetchone()[0]
    while (server := server_of(work.connection)).lsn < target:
        work.mark("")
        work.plan.stop.wait(FLUSH_SECONDS)
    work.summary.heard = max(work.summary.heard, server.lsn)
    return server


def _send(work: Run, state: State, reader: Any, horizon: int) -> None:
    table, events = work.table, work.events(state.generation)
    stamp = [column.name for column in table.columns].index(STAMP)
    key = ", ".join(identifier(name) for name in table.key)
    with text_cursor(reader, table, "changes") as cursor:
        cursor.execute(
            f"SELECT {columns_of(table)} FROM ONLY {table.quoted} "
            f"WHERE {STAMP} >= {text(str(state.position))}::xid8 "
            f"AND {STAMP} < {text(str(horizon))}::xid8 "
            f"ORDER BY {STAMP}, {key}"
        )
        for texts in cursor:
            xid = int(texts[stamp])
            where = Place(position=xid, index=0, ms=now_ms(), xid=xid)
            events.put("r", None, table.row(texts), where)


def _horizon(reader: Any) -> tuple[int, int]:
    """The oldest transaction that is open now, and the next one to begin."""
    with reader.cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint "
            "FROM pg_current_snapshot() s"
        )
        oldest, newest = cursor.fetchone()
    return oldest, newest
