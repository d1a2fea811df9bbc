"""Mode poll: read rows by the transaction that wrote them, up to the oldest open one.

Every transaction below the oldest open one has ended, so its rows are visible now or never will
be. A transaction that commits late is therefore not skipped, and the later state of a key
always has the higher transaction. Deleted rows are not seen.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

from lakehouse.core.sql import identifier, text
from producers.cdc.events import Place, now_ms
from producers.cdc.plan import Run
from producers.cdc.snapshot import columns_of, moment, take_snapshot, text_cursor
from producers.cdc.state import State
from producers.cdc.table import STAMP, CannotCapture, describe, same

XID8 = 5069
"""The type id of xid8."""
TELL_SECONDS = 10.0
log = structlog.get_logger()

_STAMPED = """
SELECT EXISTS (SELECT FROM pg_index i
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
               WHERE i.indrelid = %(oid)s AND a.attname = %(stamp)s
                 AND i.indisvalid AND i.indpred IS NULL)
   AND (SELECT coalesce(bit_or(t.tgtype::int), 0) & 20 = 20 FROM pg_trigger t
        WHERE t.tgrelid = %(oid)s AND NOT t.tgisinternal
          AND t.tgenabled IN ('O', 'A') AND t.tgtype::int & 3 = 3)
"""
"""An index that begins with the stamp, and BEFORE row triggers for INSERT (4) and UPDATE (16)."""

_ALTER = """
    ALTER TABLE {table} ADD COLUMN IF NOT EXISTS change_xid xid8;
    CREATE INDEX IF NOT EXISTS {name}_change_xid ON {table} (change_xid, {key});
    CREATE OR REPLACE FUNCTION {schema}.{name}_stamp() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.change_xid := pg_current_xact_id(); RETURN NEW; END $$;
    CREATE OR REPLACE TRIGGER {name}_stamp BEFORE INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION {schema}.{name}_stamp();"""


def run(work: Run) -> None:
    """Take a snapshot if there is none yet, then poll until the stop."""
    _check_stamp(work)
    log.warning("mode poll sees no deletes", table=work.table.qualified)
    plan, state = work.plan, work.state
    if state is None or state.snapshot == "begun":
        state = _begin(work)
    told = 0.0
    while state is not None and not plan.stop.is_set():
        state, above = _look(work, state)
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            log.info("capture", mode="poll", position=state.position, transactions_above=above,
                     sent=work.sink.sent, **work.summary.counts)  # fmt: skip
        if plan.available_now:
            return
        plan.stop.wait(plan.section.poll_interval.total_seconds())


def _check_stamp(work: Run) -> None:
    table = work.table
    stamped = any(c.name == STAMP and c.type_id == XID8 for c in table.columns)
    if stamped:
        with work.connection.cursor() as cursor:
            cursor.execute(_STAMPED, {"oid": table.oid, "stamp": STAMP})
            stamped = cursor.fetchone()[0]
    if not stamped:
        raise CannotCapture(
            table.qualified,
            f"has no indexed column {STAMP} that a trigger keeps: without it late commits and "
            "updates would be missed",
            "run this, and start again:"
            + _ALTER.format(
                table=table.qualified, schema=table.schema, name=table.name,
                key=", ".join(table.key),
            ),
        )  # fmt: skip


def _begin(work: Run) -> State | None:
    """Take the first snapshot; None if stopped."""
    generation = now_ms()
    state = work.begun(generation)
    with moment(work.plan.settings.postgres, work.table) as reader:
        horizon, _ = _horizon(reader)
        if work.plan.snapshot == "initial":
            log.info("snapshot", table=work.table.qualified, mode="poll")
            where = Place(position=horizon - 1, index=0, ms=generation, snapshot=True)
            if not take_snapshot(reader, work.events(generation), where, work.plan.stop):
                return None
    return work.reached(state, horizon)


def _look(work: Run, state: State) -> tuple[State, int]:
    """Send what was written since the last look, by transactions that have ended.

    Gives the new state, and how many transactions are newer than the oldest open one: what
    they write has to wait for it.
    """
    with moment(work.plan.settings.postgres, work.table) as reader:
        now = describe(reader, state.table)
        work.table = same(now, state, work.plan.row, work.plan.anew)
        horizon, newest = _horizon(reader)
        if newest < state.position:
            raise CannotCapture(
                f"{state.table} in {state.database}",
                f"is older than what was captured of it: transaction {newest}, not "
                f"{state.position}: a backup was restored",
                work.plan.anew,
            )
        work.summary.healthy = time.monotonic()
        if horizon <= state.position:
            return state, newest - horizon
        _send(work, state, reader, horizon)
    return work.reached(state, horizon), newest - horizon


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
