"""Run a capture: connect, read its state, run its mode, reconnect after a lost connection."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import psycopg
import structlog

from lakehouse.core.errors import ServiceUnavailable, UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.settings.postgres_client import connect, place, remedy_of, unavailable
from producers.cdc import follow, poll, slot
from producers.cdc.events import Place, now_ms
from producers.cdc.plan import Plan, Run, Summary
from producers.cdc.sink import Sink
from producers.cdc.snapshot import moment, take_snapshot
from producers.cdc.state import State, read_state
from producers.cdc.table import CannotCapture, check, describe, same

AGAIN_SECONDS = 1.0
MODES = {"slot": follow.run, "poll": poll.run}
log = structlog.get_logger()


def capture(plan: Plan, *, anew: bool = False) -> Summary:
    """Capture the product's table until the plan ends; everything sent is acknowledged.

    It waits for a database that goes away, but not for one that was never there. After any
    error slot and state are at a position up to which Kafka has everything: the next run sends
    the rest, perhaps some of it twice, under the same sequence.
    """
    settings, summary = plan.settings, Summary(plan.mode)
    started = time.perf_counter()
    locks, wait = Lake(settings.lake.root).locks, settings.publish.lock_timeout
    with write_locks(locks, [f"capture.{plan.product}"], f"capture {plan.product}", wait):
        try:
            with closing(connect(settings.postgres)) as connection:
                if anew:
                    slot.forget(connection, plan.section)
                    plan.path.unlink(missing_ok=True)
            with closing(Sink(settings, plan.section, plan.contract)) as sink:
                _persist(plan, sink, summary)
                summary.sent, summary.acknowledged = sink.sent, sink.acknowledged
        except psycopg.errors.InsufficientPrivilege as error:
            raise CannotCapture(
                place(settings.postgres),
                str(error).splitlines()[0],
                "grant the role SELECT on the table and REPLICATION, or mend [postgres] user",
            ) from None
    summary.seconds = time.perf_counter() - started
    return summary


def _persist(plan: Plan, sink: Sink, summary: Summary) -> None:
    """Connect and capture; reconnect for as long as [postgres] patience allows."""
    postgres = plan.settings.postgres
    patience, lost = postgres.patience.total_seconds(), 0.0
    while True:
        try:
            with closing(connect(postgres)) as connection:
                work = _prepare(plan, connection, sink, summary)
                if plan.snapshot == "only":
                    _snapshot_only(work)
                else:
                    MODES[plan.mode](work)
            return
        except (psycopg.Error, ServiceUnavailable) as error:
            cause = error.__cause__ if isinstance(error, ServiceUnavailable) else error
            if not isinstance(cause, psycopg.Error) or not _is_passing(cause):
                raise
            if plan.stop.is_set():
                return
            if summary.healthy > lost:
                lost = time.monotonic()
            if time.monotonic() - lost > patience:
                raise unavailable(postgres, cause) from None
            summary.reconnects += 1
            reason = str(cause).strip().splitlines()
            log.warning("the database is away", reason=reason[0] if reason else "no word")
            plan.stop.wait(AGAIN_SECONDS)


def _is_passing(error: psycopg.Error) -> bool:
    """Whether waiting may help: connection lost, or a server that starts, shuts down or is full."""
    if remedy_of(error) is not None:
        return False
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or (
        error.sqlstate is None
    )


def _prepare(plan: Plan, connection: Any, sink: Sink, summary: Summary) -> Run:
    """Read table, database and state; check that they belong together and keep the contract."""
    name, state = plan.section.table, read_state(plan.path)
    table = describe(connection, name)
    if state is not None:
        _belongs(plan, state, connection)
        if state.topic_id != sink.topic_id:
            raise CannotCapture(
                f"topic {plan.section.topic}",
                "was made anew, or is another broker's: it lacks what was captured before",
                plan.anew,
            )
        same(table, state, plan.row, plan.anew)
    if table is None:
        raise CannotCapture(
            name, "is not there", f"make it: psql -f db/{plan.product}.sql, or mend [postgres] url"
        )
    check(table, plan.row)
    system, database = _identity(connection)
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise CannotCapture(
            f"database {database}",
            "does not know its texts' encoding (SQL_ASCII): they cannot be told as UTF-8",
            "move the table to a database with an encoding",
        )
    return Run(plan, connection, sink, table, system, database, state, summary)


def _identity(connection: Any) -> tuple[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT system_identifier::text, current_database() FROM pg_control_system()"
        )
        system, database = cursor.fetchone()
    return system, database


def _belongs(plan: Plan, state: State, connection: Any) -> None:
    """Check that the state is of this mode, table and database."""
    system, database = _identity(connection)
    path = str(plan.path)
    if state.mode != plan.mode:
        raise UsageError(
            path,
            f"this lake captures {state.table} by {state.mode}, and the two modes order changes "
            "each in its own way",
            f"go on with --mode {state.mode}, or change: {plan.anew}",
        )
    if state.table != plan.section.table or state.database != database or state.system != system:
        raise UsageError(
            path,
            f"is of {state.table} in database {state.database} of cluster {state.system}, and "
            f"settings name {plan.section.table} in {database} of {system}",
            f"mend the settings, or begin again: {plan.anew}",
        )


def _snapshot_only(work: Run) -> None:
    """Take a snapshot without slot or state; a later run begins with one of its own."""
    plan = work.plan
    if work.state is not None:
        raise UsageError(
            "--snapshot only",
            f"{plan.path} says that this lake follows the table already: what it follows would "
            "look older than the snapshot",
            f"leave --snapshot out, or: {plan.anew}",
        )
    generation = now_ms()
    with moment(plan.settings.postgres, work.table) as reader:
        where = Place(position=0, index=0, ms=generation, snapshot=True)
        take_snapshot(reader, work.events(generation), where, plan.stop)
