"""What the doctor asks of orders: is the captured table there, and is its slot read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from lakehouse.core.sql import text
from lakehouse.doctor.check import Check, running_postgres
from lakehouse.products.orders.contract import NAME
from lakehouse.settings.postgres_client import Slot, connect, slot_of
from lakehouse.settings.sections import PostgresSettings
from lakehouse.settings.settings import Settings


def checks(settings: Settings) -> Iterator[Check]:
    """The table and the slot, where a Postgres runs; nothing is asked where none does."""
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
        yield slot_check(section.slot, slot_of(connection, section.slot), postgres)


def slot_check(name: str, slot: Slot | None, postgres: PostgresSettings) -> Check:
    """A slot keeps WAL until it is read: one left behind fills the server's disk."""
    name, capture = f"slot {name}", f"lakehouse capture {NAME}"
    if slot is None:
        return Check(NAME, name, "pass", "none: no capture has begun")
    if slot.wal_status == "lost":
        return Check(NAME, name, "fail", "left behind: its WAL is removed", f"{capture} --anew")
    detail = (
        f"{slot.held / 2**20:,.1f} MB of WAL held, {postgres.wal_limit_mb:,} allowed; "
        f"{'read now' if slot.active_pid else 'nobody reads it'}"
    )
    if slot.held <= postgres.wal_limit_mb * 2**20:
        return Check(NAME, name, "pass", detail)
    drop = f"SELECT pg_drop_replication_slot({text(name.removeprefix('slot '))})"
    return Check(NAME, name, "fail", detail, f"run {capture}, or give the slot up: {drop}")
