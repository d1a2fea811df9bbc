"""A connection that may write a sink's tables: it has their lock, and they are as declared."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from contextlib import closing

import psycopg
import pyarrow as pa

from lakehouse.core.errors import LakehouseError, ServiceRefuses, TableLocked
from lakehouse.core.sql import identifier, listed
from lakehouse.model.sink import PostgresSink, PostgresTable
from lakehouse.settings.postgres_client import connect, place
from lakehouse.settings.sections import PostgresSettings
from lakehouse.sinks.postgres_tables import (
    AHEAD,
    AHEAD_DDL,
    RECORD,
    RECORD_DDL,
    columns_of,
    ddl,
    missing,
    widened,
)

_LOCK_SECONDS, _LOOK = 5.0, 0.1
"""So long the session of a process that was killed may outlive it."""
_UNLOCKED = "SET lock_timeout = '10s'"
"""How long a statement waits for another's lock before that is reported; a stop waits as long."""
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence"}
_HOLDERS = """
SELECT string_agg(DISTINCT pid::text, ', ') FROM pg_locks
WHERE granted AND mode <> 'AccessShareLock' AND pid <> pg_backend_pid()
  AND relation IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
"""
_UNIQUE = """
SELECT EXISTS (
    SELECT FROM pg_index WHERE indrelid = %s::regclass AND indisunique AND indisvalid
        AND indimmediate AND indpred IS NULL AND indexprs IS NULL
        AND %s::text[] = (
            SELECT array_agg(attname::text ORDER BY attname::text COLLATE "C") FROM pg_attribute
            WHERE attrelid = indrelid AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])
        )
)"""


def opened(
    sink: PostgresSink, settings: PostgresSettings, schemas: Mapping[str, pa.Schema]
) -> psycopg.Connection:
    """A new connection with the sink's lock; tables that are missing are made.

    TableLocked where another session has the lock; it goes with the session.
    """
    made = connect(settings)
    try:
        made.execute("SET client_min_messages = warning")
        made.execute(_UNLOCKED)
        _check_encoding(made, place(settings))
        _lock(made, sink, place(settings))
        for table in sink.into:
            _check_kind(made, table, place(settings))
        _make(made, {RECORD: RECORD_DDL, AHEAD: AHEAD_DDL, **ddl(sink, schemas)})
        for statement in widened(made):
            made.execute(statement.encode())
        for table in sink.into:
            _check_columns(made, table, schemas[table.source], place(settings))
            _check_key(made, table, place(settings))
    except BaseException:
        made.close()
        raise
    return made


def _make(connection: psycopg.Connection, wanted: Mapping[str, str]) -> None:
    """Make what is missing; another sink, or a person, may make it at the same moment."""
    lacking = missing(connection, wanted)
    for name in (name for name in wanted if name in lacking):
        try:
            connection.execute(wanted[name].encode())
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable):
            if missing(connection, [name]):
                raise


def _lock(connection: psycopg.Connection, sink: PostgresSink, where: str) -> None:
    key = zlib.crc32(f"lakehouse {sink.name}".encode()) - 2**31
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        found = connection.execute("SELECT pg_try_advisory_lock(%s::int, 0)", (key,)).fetchall()
        if found == [(True,)]:
            return
        if time.monotonic() > until:
            break
        time.sleep(_LOOK)
    holders = connection.execute(
        "SELECT pid, coalesce(host(client_addr), 'this machine') FROM pg_locks "
        "JOIN pg_stat_activity USING (pid) "
        "WHERE locktype = 'advisory' AND classid::bigint = %s AND granted",
        (key % 2**32,),
    ).fetchall()
    told = ", ".join(f"the server's process {pid} for {client}" for pid, client in holders)
    raise TableLocked(
        f"{where}, {sink.name}", f"another writer has its tables: {told or 'unknown'}",
        "end that one: a sink has one writer",
    )  # fmt: skip


def holders(settings: PostgresSettings, sink: PostgresSink) -> str:
    """Who has locks of a sink's tables: processes of the server."""
    names = [RECORD, AHEAD, *(identifier(table.name) for table in sink.into)]
    with closing(connect(settings)) as asking:
        found = asking.execute(_HOLDERS, (names,)).fetchone()
    return (found and found[0]) or "that are gone by now"


def _check_encoding(connection: psycopg.Connection, where: str) -> None:
    """Raise where the database does not have every character: a row would stop the sink."""
    found = connection.info.parameter_status("server_encoding")
    if found not in {"UTF8", "SQL_ASCII"}:
        raise LakehouseError(
            where, f"its encoding is {found}, which does not have every character",
            "name one by [postgres] url that was made so: CREATE DATABASE ... ENCODING 'UTF8' "
            "TEMPLATE template0",
        )  # fmt: skip


def _check_kind(connection: psycopg.Connection, table: PostgresTable, where: str) -> None:
    """Raise where a table's name belongs to something else, such as a view."""
    found = connection.execute(
        "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)", (identifier(table.name),)
    ).fetchone()
    if found and found[0] not in "rp":
        raise ServiceRefuses(
            f"{where}, table {table.name}", f"is {_KINDS.get(found[0], 'something else')}",
            "drop it, or give it another name: the table is rebuilt and filled",
        )  # fmt: skip


def _check_columns(
    connection: psycopg.Connection, table: PostgresTable, schema: pa.Schema, where: str
) -> None:
    """Raise where a table has other columns, or other types, than its silver has."""
    found = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        (identifier(table.name),),
    ).fetchall()
    if odd := {name for name, _ in columns_of(table, schema).items() ^ dict(found).items()}:
        raise ServiceRefuses(
            f"{where}, table {table.name}",
            f"has other columns than {table.source}: {', '.join(sorted(odd))}",
            "drop the table: it is rebuilt and filled",
        )


def _check_key(connection: psycopg.Connection, table: PostgresTable, where: str) -> None:
    """Raise where nothing keeps a table's key unique: no row could be put in another's place."""
    asked = (identifier(table.name), sorted(table.key))
    if connection.execute(_UNIQUE, asked).fetchall() == [(False,)]:
        key = listed(table.key)
        raise ServiceRefuses(
            f"{where}, table {table.name}", f"has no primary key ({key})",
            f"ALTER TABLE {identifier(table.name)} ADD PRIMARY KEY ({key}); or drop the table: "
            "it is rebuilt and filled",
        )  # fmt: skip
