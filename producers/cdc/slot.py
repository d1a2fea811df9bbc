"""A replication slot: made with the snapshot that it begins at, and checked before it is read.

The server keeps its log (WAL) from the slot's position on. Three things are written, in this
order, each only when the one before is done: Kafka has acknowledged the changes; the state
file records their position; the server hears that the slot may advance.

Worked example. State and slot are at position 40; the changes 41 to 45 are read.

- Before: Kafka has everything up to 40, and the server keeps what comes after 40.
- Kafka acknowledges 41 to 45. Crash here. State and slot are still at 40.
- After: the next run reads 41 to 45 again and sends them again, each under the same
  ``sequence`` and ``event_id`` as before, so bronze marks the second ones as duplicates. Nothing
  is lost. A crash after the state was written finds the state at 45 and the slot at 40: the
  next run begins at 45.

The slot is never ahead of the state. Where it is, something else has read the slot and its
changes are gone: :func:`check_slot` refuses, and a new snapshot is needed.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import Any

import psycopg
import structlog

from lakehouse.core import failpoint
from lakehouse.core.sql import identifier
from lakehouse.settings.postgres_client import Slot, slot_of
from producers.cdc.events import Place, now_ms
from producers.cdc.plan import Run
from producers.cdc.publication import ensure_publication
from producers.cdc.server import lsn_of, lsn_text, patient
from producers.cdc.snapshot import moment, take_snapshot
from producers.cdc.state import State
from producers.cdc.steps import Step
from producers.cdc.table import CannotCapture

PATIENT_SECONDS = 3.0
log = structlog.get_logger()


def forget(connection: Any, name: str) -> None:
    """Drop the slot if it exists; a reader that was killed may hold it for a moment."""
    deadline = time.monotonic() + PATIENT_SECONDS
    while (slot := slot_of(connection, name)) is not None and slot.active_pid:
        if time.monotonic() < deadline:
            time.sleep(0.1)
            continue
        raise CannotCapture(
            f"replication slot {name}",
            f"is in use by process {slot.active_pid} of the server",
            "stop the capture that uses it, or name another slot in the product's section",
        )
    if slot is not None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def begin(work: Run, state: State | None) -> State | None:
    """Create the slot, and take the snapshot at its starting point; None if stopped."""
    section, plan = work.plan.section, work.plan
    if state is None and slot_of(work.connection, section.slot) is not None:
        raise CannotCapture(
            f"replication slot {section.slot}",
            f"is there, and this lake ({plan.settings.lake.root}) knows nothing of it",
            f"name another slot in [{plan.product}] slot, or drop it: {plan.anew}",
        )
    forget(work.connection, section.slot)
    ensure_publication(work.connection, section.publication, work.table)
    known, generation = work.meet_topic()
    state = work.begun(generation, work.watched())  # before the slot: what it reads comes after
    with closing(replication(work)) as connection:
        made = make_slot(work, connection, section.slot)
        if made is None:
            return None
        point, snapshot = made
        failpoint.reach(Step.SLOT_MADE)
        if plan.snapshot == "initial":
            log.info("snapshot", table=work.table.qualified, mode="slot")
            with moment(plan.settings.postgres, work.table, snapshot) as reader:
                where = Place(position=point, index=0, ms=now_ms(), lsn=point, snapshot=True)
                if not take_snapshot(reader, work, generation, where, known.live):
                    return None
    return work.reached(state, point)


def replication(work: Run) -> Any:
    """A connection that speaks the replication protocol."""
    return patient(work.plan.settings.postgres, lock_ms=0, replication="database")


def make_slot(work: Run, connection: Any, name: str, kind: str = "") -> tuple[int, str] | None:
    """The new slot's first LSN and the name of its snapshot; None if stopped meanwhile.

    Postgres first waits for every open transaction, so this runs in a thread and can be left.
    """
    found: list[Any] = []

    def make() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"CREATE_REPLICATION_SLOT {identifier(name)} {kind} LOGICAL pgoutput "
                    "EXPORT_SNAPSHOT"
                )
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
            connection.cancel()
            thread.join()
    if work.plan.stop.is_set():
        return None
    if isinstance(found[0], psycopg.Error):
        if connection.closed:
            raise found[0]
        raise CannotCapture(
            f"replication slot {name}",
            f"cannot be made: {str(found[0]).strip()}",
            "set wal_level = logical and max_replication_slots on the server, let the role "
            "replicate, or use --mode poll",
        )
    _, point, snapshot, _ = found[0]
    return lsn_of(point), snapshot


def check_slot(work: Run, state: State) -> Slot:
    """The slot, if it still has every change that this lake lacks; else CannotCapture."""
    name, anew = work.plan.section.slot, work.plan.anew
    place = f"replication slot {name}"
    slot = slot_of(work.connection, name)
    if slot is None:
        raise CannotCapture(place, "is gone, and with it the changes since the last run", anew)
    if slot.wal_status == "lost":
        raise CannotCapture(place, "was left behind: the server has removed its WAL", anew)
    if slot.plugin != "pgoutput" or slot.database != work.server.database:
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
