"""What the doctor asks of orders: is the captured table there, and is its slot read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from lakehouse.core.sql import text
from lakehouse.doctor.check import Check, running_postgres
from lakehouse.products.orders.contract import NAME
from lakehouse.settings.postgres_client import Slot, connect, slot_of
from lakehouse.settings.sections import PostgresSettings
from lakehouse.settings.settings import Settings
from producers.cdc.fault import read_fault
from producers.cdc.state import read_state, state_path

FAR_BYTES = 4 * 2**20
"""A capture that works is never further behind than a quarter of this, whoever writes."""


def checks(settings: Settings) -> Iterator[Check]:
    """The capture's last error, then table and slot where a Postgres runs; it starts nothing."""
    path = state_path(settings.lake.root, NAME)
    if fault := read_fault(path):
        yield Check(NAME, "capture", "fail", fault.told(), fault.remedy)
    section, postgres = settings.captured(NAME), running_postgres(settings)
    if postgres is None:
        return
    with closing(connect(postgres)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (section.table,))
        there = bool((cursor.fetchone() or (False,))[0])
        yield Check(
            NAME, f"table {section.table}", "pass" if there else "warn",
            "exists" if there else "does not exist",
            "" if there else "make it: psql -f db/orders.sql",
        )  # fmt: skip
        slot, state = slot_of(connection, section.slot), read_state(path)
        age = timedelta(0)
        if state is not None and state.written:
            age = datetime.now(UTC) - datetime.fromisoformat(state.written)
        is_stuck = age > settings.services.patience
        yield slot_check(section.slot, slot, postgres, age if is_stuck else None)


def slot_check(
    name: str, slot: Slot | None, postgres: PostgresSettings, since: timedelta | None = None
) -> Check:
    """A slot keeps WAL until it is read: one left behind fills the server's disk.

    ``since``: how long ago the capture last got on, where that is too long for one that works.
    """
    name, capture = f"slot {name}", f"lakehouse capture {NAME}"
    if slot is None:
        return Check(NAME, name, "pass", "none: no capture has begun")
    if slot.wal_status == "lost":
        return Check(NAME, name, "fail", "left behind: its WAL is removed", f"{capture} --anew")
    detail = (
        f"{slot.held / 2**20:,.1f} MB of WAL held, {postgres.wal_limit_mb:,} allowed; "
        f"{'read now' if slot.active_pid else 'nobody reads it'}"
    )
    if slot.held > postgres.wal_limit_mb * 2**20:
        drop = f"SELECT pg_drop_replication_slot({text(name.removeprefix('slot '))})"
        return Check(NAME, name, "fail", detail, f"run {capture}, or give the slot up: {drop}")
    if since is not None and slot.behind > FAR_BYTES:
        waiting, minutes = f"{slot.behind / 2**20:,.1f} MB", since.total_seconds() / 60
        told = f"{detail}; {waiting} wait, and it last got on {minutes:,.0f} minutes ago"
        remedy = f"run {capture}" if slot.active_pid is None else "see what the capture says"
        return Check(NAME, name, "warn", told, remedy)
    return Check(NAME, name, "pass", detail)
