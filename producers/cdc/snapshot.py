"""Sends the table as of one moment, and deletes of keys that only the topic has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import structlog
from psycopg import IsolationLevel
from psycopg.types.string import TextLoader

from lakehouse.core.sql import identifier, text
from lakehouse.model.change import encode_key
from lakehouse.settings.sections import PostgresSettings
from producers.cdc.events import Place
from producers.cdc.plan import Run
from producers.cdc.server import patient
from producers.cdc.table import Table

ROWS_AT_ONCE = 5_000
SAY_EVERY = 100_000
log = structlog.get_logger()


@contextmanager
def moment(postgres: PostgresSettings, table: Table, snapshot: str = "") -> Iterator[Any]:
    """A connection that sees one moment, now or an exported one; the table cannot be altered."""
    with closing(patient(postgres)) as reader:
        reader.autocommit, reader.read_only = False, True
        reader.isolation_level = IsolationLevel.REPEATABLE_READ
        with reader.cursor() as cursor:
            cursor.execute(f"LOCK TABLE ONLY {table.quoted} IN ACCESS SHARE MODE")
            if snapshot:
                cursor.execute(f"SET TRANSACTION SNAPSHOT {text(snapshot)}")
        yield reader


def text_cursor(connection: Any, table: Table, name: str) -> Any:
    """A server-side cursor whose values are texts, as a replication slot sends them."""
    cursor = connection.cursor(name)
    cursor.itersize = ROWS_AT_ONCE
    for column in table.columns:
        cursor.adapters.register_loader(column.type_id, TextLoader)
    return cursor


def columns_of(table: Table) -> str:
    """The columns for a SELECT, in the table's order."""
    return ", ".join(identifier(column.name) for column in table.columns)


def take_snapshot(
    connection: Any, work: Run, generation: int, where: Place, gone: dict[bytes, dict[str, Any]]
) -> bool:
    """Send the table as the connection's transaction sees it; False if stopped midway.

    ``gone`` are the keys that are alive in the topic: those that the table does not have are
    sent as deleted, their rows were deleted while no capture ran. When this returns True,
    Kafka has acknowledged everything.
    """
    table, events, stop, number = work.table, work.events(generation), work.plan.stop, 0
    with text_cursor(connection, table, "snapshot") as cursor:
        cursor.execute(f"SELECT {columns_of(table)} FROM ONLY {table.quoted}")
        for number, texts in enumerate(cursor, 1):
            row = table.row(texts)
            events.put("r", None, row, where)
            if gone:
                gone.pop(encode_key(table.key_of(row)), None)
            if number % SAY_EVERY == 0:
                log.info("snapshot", rows=number)
            if stop.is_set():
                work.summary.unfinished = (
                    f"the snapshot was stopped after {number:,} rows: it is taken anew, and whole, "
                    "by the next run"
                )
                return False
    for key in gone.values():
        events.delete(key, where)
    events.sink.settle()
    return True
