"""Silver tables in Postgres: only what changed is sent, in one transaction with its version.

Worked example. Silver's ``by_country`` is at version 8, and Postgres has version 7.

- Before: the record of the table says 7. The rows that differ between 7 and 8 are read.
- They are copied into a temporary table, upserted, those that are gone are deleted, and the
  record says 8: one transaction. Crash before its commit: Postgres has 7, and all is done again.
- Crash after it: the next start finds 8 in the record, and nothing to do.

A table whose version silver no longer has (Postgres was away for long), or that holds
nothing although silver does, is filled anew: compared with all of silver in one transaction.
A table that another lake filled, or nobody knows who, is refused: only a person can say that
what it holds may go (``lakehouse sink refill``).

One writer: an advisory lock of the session keeps a second one out, and every transaction
locks the record and finds it as it left it, or ends in words.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import psycopg
import structlog
from pyarrow import csv

from lakehouse.core import failpoint
from lakehouse.core.errors import LakehouseError, ServiceAway, TableDamaged, TableLocked
from lakehouse.core.failpoint import Step
from lakehouse.core.progress import advance
from lakehouse.core.sql import identifier, listed
from lakehouse.model.sink import PostgresSink, PostgresTable
from lakehouse.settings.postgres_client import place, unavailable
from lakehouse.settings.settings import Settings
from lakehouse.sinks.postgres_session import opened
from lakehouse.sinks.postgres_statements import (
    DELETE,
    DELETE_OTHERS,
    DIFFERS,
    NEW,
    OLD,
    UPSERT,
    temporary,
    words,
)
from lakehouse.sinks.postgres_tables import Held, held, record, values
from lakehouse.sinks.versions import Version, Versions, reading, rows_of
from lakehouse.storage.follower import NOTHING, Applied

_AT_ONCE = 20_000
"""Rows in memory at a time."""
log = structlog.get_logger("lakehouse")


class PostgresWriter:
    """The tables of one sink; used by one thread."""

    def __init__(
        self, sink: PostgresSink, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.name, self._sink, self._settings = sink.name, sink, settings
        self._duck = connection
        self._place = place(settings.postgres)
        root = settings.lake.root
        self._silver = {table: Versions(root, table.source) for table in sink.into}
        self._connection: psycopg.Connection | None = None
        self._had_lock = False
        self._sent: dict[PostgresTable, Version] = {}
        """What each table is known to hold."""

    def catch_up(self) -> None:
        """Send what silver's tables have gained; ServiceAway where Postgres does not answer.

        TableMissing while silver does not exist.
        """
        with self._answering() as connection:
            for table in self._sink.into:
                now = self._silver[table].newest()
                sent = self._sent.get(table)
                if now.applied is None:
                    continue  # it is made, and has taken nothing of bronze yet
                if sent is None or (sent.id, sent.number, sent.time) != (
                    now.id, now.number, now.time,
                ):  # fmt: skip
                    self._bring(connection, table, now)

    def refill(self, only: str | None = None) -> None:
        """Compare tables whole with silver, whatever they hold and whoever filled them."""
        with self._answering() as connection:
            for table in self._sink.into:
                if only in {None, table.name}:
                    now, was = self._silver[table].newest(), held(connection, table)
                    self._fill(connection, table, now, was, table.name)

    def close(self) -> None:
        """Let go of the connection, and with it of the lock."""
        connection, self._connection = self._connection, None
        self._sent.clear()
        if connection is not None:
            connection.close()

    @contextmanager
    def _answering(self) -> Iterator[psycopg.Connection]:
        """The connection, made where there is none; what Postgres says is told in our words."""
        try:
            if self._connection is None or self._connection.closed:
                self.close()
                self._connection = self._opened()
            yield self._connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.close()
            raise unavailable(self._settings.postgres, error) from error
        except psycopg.errors.UndefinedTable as error:
            self.close()
            raise ServiceAway(
                f"{self._place}, {self.name}", f"{str(error).splitlines()[0]}: it was dropped",
                "wait: the table is made anew and filled",
            ) from error  # fmt: skip
        except psycopg.Error as error:
            self.close()
            raise LakehouseError(
                f"{self._place}, {self.name}", str(error).splitlines()[0],
                "mend the table or the role's rights; or drop the table: it is made anew",
            ) from error  # fmt: skip
        except BaseException:
            self.close()
            raise

    def _opened(self) -> psycopg.Connection:
        """A new connection; the lock of one that was lost may take the server a while to free."""
        schemas = {t.source: self._silver[t].newest().schema for t in self._sink.into}
        try:
            made = opened(self._sink, self._settings.postgres, schemas)
        except TableLocked as locked:
            if self._had_lock:
                raise ServiceAway(locked.place, locked.fault, locked.remedy) from locked
            raise
        self._had_lock = True
        return made

    def _bring(self, connection: psycopg.Connection, table: PostgresTable, now: Version) -> None:
        """Bring one table to a version of silver."""
        was = held(connection, table)
        self._check_owner(connection, table, was, now)
        before = self._sent.get(table)
        if was is None or before is None or (before.id, before.number) != _version(was):
            before = self._before(connection, table, was, now)
        if before is None:
            self._fill(connection, table, now, was)
            return
        if (before.number, before.id) == (now.number, now.id):
            self._sent[table] = now
            return
        try:
            self._send(connection, table, was, before, now)
        except (duckdb.IOException, FileNotFoundError, TableDamaged) as gone:
            log.info("filled anew", table=table.name, reason=str(gone).splitlines()[0])
            self._fill(connection, table, now, was)

    def _before(
        self, connection: psycopg.Connection, table: PostgresTable, was: Held | None, now: Version
    ) -> Version | None:
        """The version that the table holds, by its record; None where it is to be filled anew."""
        if was is None:
            return None
        found = self._silver[table].at(was.silver_id, was.silver_version, was.silver_time)
        reason = "silver no longer has the version that it holds" if found is None else ""
        if found and found.has_rows and _is_empty(connection, table):
            reason = "it is empty, and its record says that it has rows"
        if reason:
            log.warning("filled anew", table=table.name, version=now.number, reason=reason)
            return None
        return found

    def _check_owner(
        self, connection: psycopg.Connection, table: PostgresTable, was: Held | None, now: Version
    ) -> None:
        fault = ""
        if was is None:
            if not _is_empty(connection, table):
                fault = "has rows, and no record says from where"
        elif was.sink != self.name:
            fault = f"is filled by {was.sink}"
        elif now.applied is not None and was.bronze.bronze != now.applied.bronze:
            fault = "was filled from another lake"
        if fault:
            raise LakehouseError(
                f"{self._place}, table {table.name}", fault,
                "if what it holds may go: lakehouse sink refill "
                f"{self._sink.product} --table {table.name}; else name another database",
            )  # fmt: skip

    def _send(
        self, connection: psycopg.Connection, table: PostgresTable, was: Held | None,
        before: Version, now: Version,
    ) -> None:  # fmt: skip
        """Send the rows that differ between two versions of silver."""
        gained = rows_of(now, now.files - before.files)
        lost = rows_of(before, before.files - now.files)
        value = values(table, now.schema)
        every = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in value.items())
        keys = ", ".join(f"{value[name]} AS {identifier(name)}" for name in table.key)
        with self._changing(connection, table, was, now):
            for name, columns, select in (
                (NEW, [*value], f"SELECT {every} FROM {gained} EXCEPT SELECT {every} FROM {lost}"),
                (OLD, table.key, f"SELECT {keys} FROM {lost} EXCEPT SELECT {keys} FROM {gained}"),
            ):
                self._copy(connection, temporary(table, name), columns, now, select)
            names = words(table, value)
            connection.execute(DELETE.format(**names))
            connection.execute(UPSERT.format(where="", **names))

    def _fill(
        self, connection: psycopg.Connection, table: PostgresTable, now: Version,
        was: Held | None, what: str = "",
    ) -> None:  # fmt: skip
        """Make the table what silver is: rows that are equal stay as they are."""
        value = values(table, now.schema)
        every = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in value.items())
        names = words(table, value)
        with self._changing(connection, table, was, now):
            select = f"SELECT {every} FROM {rows_of(now, now.files)}"
            self._copy(connection, temporary(table, NEW), [*value], now, select, what)
            connection.execute(f"ANALYZE {identifier(temporary(table, NEW))}")
            connection.execute(DELETE_OTHERS.format(**names))
            connection.execute(UPSERT.format(where=DIFFERS.format(**names), **names))

    @contextmanager
    def _changing(
        self, connection: psycopg.Connection, table: PostgresTable, was: Held | None, now: Version
    ) -> Iterator[None]:
        """One transaction that changes a table and its record, or neither."""
        with connection.transaction():
            if held(connection, table, lock=True) != was:
                raise TableLocked(
                    f"{self._place}, table {table.name}", "another writer has changed it meanwhile",
                    "end the other one: a sink has one writer; then start again",
                )  # fmt: skip
            for name, columns in ((NEW, "*"), (OLD, listed(table.key))):
                connection.execute(
                    f"CREATE TEMP TABLE IF NOT EXISTS {identifier(temporary(table, name))} "
                    f"ON COMMIT DELETE ROWS AS SELECT {columns} FROM {identifier(table.name)} "
                    "WITH NO DATA"
                )
            yield
            applied = now.applied or Applied("", NOTHING)
            record(connection, table, Held(
                self.name, applied, now.id, now.number, now.time,
            ))  # fmt: skip
            failpoint.reach(Step.POSTGRES_WRITTEN)
        self._sent[table] = now
        failpoint.reach(Step.POSTGRES_COMMITTED)

    def _copy(
        self, connection: psycopg.Connection, into: str, columns: list[str] | tuple[str, ...],
        version: Version, select: str, what: str = "",
    ) -> None:  # fmt: skip
        """Copy what DuckDB selects into a temporary table by parts, told of as ``what``."""
        done, total = 0, version.table.count() if what else 0
        copying = f"COPY {identifier(into)} ({listed(columns)}) FROM STDIN (FORMAT csv)"
        with (
            reading(self._duck, version) as own,
            connection.cursor() as cursor,
            cursor.copy(copying) as copy,
        ):
            for batch in own.sql(select).to_arrow_reader(_AT_ONCE):
                out = io.BytesIO()
                csv.write_csv(batch, out, csv.WriteOptions(include_header=False))
                copy.write(out.getvalue())
                done += batch.num_rows
                if what:
                    advance(f"filling {what}", done, max(done, total))


def _version(was: Held) -> tuple[str, int]:
    return was.silver_id, was.silver_version


def _is_empty(connection: psycopg.Connection, table: PostgresTable) -> bool:
    found = connection.execute(f"SELECT EXISTS (SELECT FROM {identifier(table.name)})").fetchall()
    return found == [(False,)]
