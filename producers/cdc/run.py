"""Run a capture: connect, read its state, run its mode, reconnect after a lost connection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
import structlog

from lakehouse.core.errors import LakehouseError, ServiceUnavailable, UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.core.patience import Patience, patiently
from lakehouse.core.signals import Stopped
from lakehouse.settings.postgres_client import connect
from producers.cdc import follow, poll, slot
from producers.cdc.events import Place, now_ms
from producers.cdc.fault import write_fault
from producers.cdc.plan import Plan, Run, Summary
from producers.cdc.server import belongs, patient, same_history, server_of
from producers.cdc.sink import Sink
from producers.cdc.snapshot import moment, take_snapshot
from producers.cdc.state import State, read_state
from producers.cdc.table import CannotCapture, check, describe, has_children, same
from producers.cdc.waiting import Waiting, in_words

MODES = {"slot": follow.run, "poll": poll.run}
log = structlog.get_logger()


def capture(plan: Plan, *, anew: bool = False) -> Summary:
    """Capture the product's table until the plan ends; everything sent is acknowledged.

    It waits for a database or broker that is away, as [services] patience says. After any
    error slot and state are at a position up to which Kafka has everything: the next run sends
    the rest, perhaps some of it twice, under the same sequence.
    """
    if anew and plan.snapshot == "never":
        raise UsageError(
            "--anew --snapshot never",
            "ask for a new snapshot, and for none",
            "leave one of them out",
        )
    if plan.resend and (anew or plan.mode != "slot"):
        raise UsageError(
            "--resend",
            "sends rows at their place in a slot's stream",
            "leave it out with --anew, which sends every row; with --mode poll change the row",
        )
    settings, summary = plan.settings, Summary(plan.mode)
    started = time.perf_counter()
    locks, wait = Lake(settings.lake.root).locks, settings.publish.lock_timeout
    limit, patience = settings.services.patience, Patience(settings.services.patience, plan.stop)
    with (
        write_locks(locks, [f"capture.{plan.product}"], f"capture {plan.product}", wait),
        _kept(plan),
        suppress(Stopped),
    ):
        patiently(lambda: connect(settings.postgres).close(), limit, plan.stop)
        floor = _forget(plan) if anew else 0
        made = partial(Sink, settings, plan.section, plan.contract, patience)
        with closing(patiently(made, limit, plan.stop)) as sink:
            _persist(plan, sink, summary, floor)
            summary.sent, summary.acknowledged = sink.sent, sink.acknowledged
    summary.seconds = time.perf_counter() - started
    return summary


@contextmanager
def _kept(plan: Plan) -> Iterator[None]:
    """Keep the error that ends what is inside, for whoever looks later; not a wrong option."""
    try:
        yield
    except UsageError:
        raise
    except LakehouseError as error:
        write_fault(plan.path, error)
        raise


def _forget(plan: Plan) -> int:
    """Drop the slot that this lake reads, or is about to; forget the state, but its generation."""
    try:
        state = read_state(plan.path)
    except LakehouseError:
        state = None  # it cannot be read: to forget it is the remedy that its error names
    named = plan.section.slot if plan.mode == "slot" else ""
    try:
        with closing(connect(plan.settings.postgres)) as connection:
            for owned in {_own_slot(plan, state, connection), named} - {""}:
                slot.forget(connection, owned)
    except psycopg.Error as error:
        raise in_words(plan, error) from None
    plan.path.unlink(missing_ok=True)
    return state.generation if state else 0


def _own_slot(plan: Plan, state: State | None, connection: Any) -> str:
    """The slot that a state says is its lake's; none where it is of another server or database.

    A lake may be a stranger's, and its state name any slot.
    """
    if state is None or state.mode != "slot":
        return ""
    server = server_of(connection)
    is_of_here = (state.system, state.database) == (server.system, server.database)
    return (state.slot or plan.section.slot) if is_of_here else ""


def _persist(plan: Plan, sink: Sink, summary: Summary, floor: int) -> None:
    """Connect and capture; connect again for as long as [services] patience allows."""
    postgres, waiting = plan.settings.postgres, Waiting(plan, summary, sink.patience)
    while True:
        try:
            with closing(patient(postgres)) as connection:
                work = _prepare(plan, connection, sink, summary, floor)
                if plan.snapshot == "only":
                    _snapshot_only(work)
                else:
                    MODES[plan.mode](work)
            return
        except (psycopg.Error, ServiceUnavailable) as error:
            if not waiting.is_worth_it(error):
                return
            floor = 0 if read_state(plan.path) else floor


def _prepare(plan: Plan, connection: Any, sink: Sink, summary: Summary, floor: int) -> Run:
    """Read table, database and state; check that they belong together and keep the contract."""
    name, state = plan.section.table, read_state(plan.path)
    server, table = server_of(connection), describe(connection, name)
    if state is not None:
        path = str(plan.path)
        if state.mode != plan.mode:
            raise UsageError(
                path,
                f"this lake captures {state.table} by {state.mode}, and the two modes order "
                "changes each in its own way",
                f"go on with --mode {state.mode}, or change: {plan.anew}",
            )
        belongs(server, state, name, path, plan.anew)
        if state.snapshot == "done":
            same_history(server, state, summary.heard, plan.anew)
        if state.topic_id != sink.topic_id:
            raise CannotCapture(
                f"topic {plan.section.topic}",
                "was recreated, or is another broker's: it lacks what was captured before",
                plan.anew,
            )
        same(table, state, plan.row, plan.anew)
    if plan.snapshot == "never" and state is not None and state.snapshot == "begun":
        raise UsageError(
            "--snapshot never",
            f"{plan.path} says that a snapshot was begun and not finished: rows are missing",
            "leave --snapshot out: it is taken again, and whole",
        )
    if plan.snapshot == "never" and state is None:
        log.warning("no snapshot: the rows that the table has now are not sent", table=name)
    if table is None:
        raise CannotCapture(
            name, "is not there", f"make it: psql -f db/{plan.product}.sql, or mend [postgres] url"
        )
    check(table, plan.row)
    if has_children(connection, table.oid):
        fault = "has tables that inherit from it, whose rows are not captured"
        if state is None:
            raise CannotCapture(name, fault, f"ALTER TABLE ... NO INHERIT {name}")
        log.warning(fault, table=name)
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise CannotCapture(
            f"database {server.database}",
            "does not know its texts' encoding (SQL_ASCII): they cannot be told as UTF-8",
            "move the table to a database with an encoding",
        )
    work = Run(plan, connection, sink, table, server, state, summary, floor)
    if state is not None and state.snapshot == "done":
        work.alone(state, sink.others(state.ends))
    return work


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
    known, generation = work.meet_topic()
    if known.live:
        log.warning(
            "the topic has rows already: a snapshot adds a record for each row of the table, and "
            "a capture that follows into this topic must begin again",
            topic=plan.section.topic, rows=len(known.live),
        )  # fmt: skip
    with moment(plan.settings.postgres, work.table) as reader:
        where = Place(position=0, index=0, ms=now_ms(), snapshot=True)
        take_snapshot(reader, work, generation, where, known.live)
