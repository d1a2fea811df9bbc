"""Silver tables in Postgres: only what changed is sent, in one transaction with its version.

Worked example. Silver's ``by_country`` is at version 8, and Postgres has version 7.

- Before: the record of the table says 7. The rows that differ between 7 and 8 are read.
- They are copied into a temporary table, upserted, those that are gone are deleted, and the
  record says 8: one transaction. Crash before its commit: Postgres has 7, and all is done again.
- Crash after it: the next start finds 8 in the record, and nothing to do.

What silver hands over before its table is published is sent too: see
:mod:`lakehouse.sinks.postgres_transfer`.

A table whose version silver no longer has (Postgres was away for long), or that holds
nothing although silver does, is refilled: compared with all of silver in one transaction.
A table that another lake filled, or nobody knows who, is refused: only a person can say that
what it holds may go (``lakehouse sink refill``).

One writer: an advisory lock of the session keeps a second one out, and every transaction
locks the record and finds it as it left it, or ends with a clear error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import psycopg
import structlog

from lakehouse.core.errors import (
    LakehouseError,
    ServiceAway,
    ServiceRefuses,
    TableDamaged,
    TableLocked,
)
from lakehouse.core.paths import Lake
from lakehouse.model.sink import PostgresSink, PostgresTable
from lakehouse.settings.postgres_client import place, right_lacking, unavailable
from lakehouse.settings.settings import Settings
from lakehouse.silver.handed import Handed
from lakehouse.sinks.postgres_session import holders, opened
from lakehouse.sinks.postgres_tables import (
    AHEAD,
    Held,
    file_of,
    held,
    is_empty,
    knows_ahead,
)
from lakehouse.sinks.postgres_transfer import Transfer
from lakehouse.sinks.versions import Version, Versions
from lakehouse.storage.follower import Applied, has_commit

log = structlog.get_logger("lakehouse")


@dataclass(frozen=True)
class _Sent:
    """What a table is known to hold: a version of silver, and bronze's version with it.

    Where an earlier process was ahead of silver nobody tells what it was handed: ``is_ours`` is
    not set until silver's table has that, too.
    """

    version: Version
    applied: Applied
    is_ours: bool = True


class PostgresWriter:
    """The tables of one sink; used by one thread."""

    def __init__(
        self,
        sink: PostgresSink,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        handed: Handed | None = None,
    ) -> None:
        self.name, self._sink, self._settings = sink.name, sink, settings
        self._duck, self._handed = connection, handed or Handed()
        self._place = place(settings.postgres)
        root = settings.lake.root
        self._bronze = Lake(root).table(f"bronze.{sink.product}")
        self._silver = {table: Versions(root, table.source) for table in sink.into}
        self._connection: psycopg.Connection | None = None
        self._had_lock = False
        self._sent: dict[PostgresTable, _Sent] = {}
        self._files: dict[PostgresTable, int | None] = {}
        """Table → the file that the server keeps it in: another once it is emptied or replaced."""

    def catch_up(self) -> None:
        """Send what silver's tables have gained; ServiceAway where Postgres does not answer.

        TableMissing while silver does not exist.
        """
        with self._answering() as connection:
            for table in self._sink.into:
                now = self._silver[table].newest()
                if now.applied is None:
                    continue  # it is made, and has taken nothing of bronze yet
                self._take_handed(connection, table, now)
                sent = self._sent.get(table)
                if sent is None or not _is_same(sent.version, now):
                    self._bring(connection, table, now, now.applied)

    def refill(self, only: str | None = None) -> None:
        """Compare tables whole with silver, whatever they hold and whoever filled them."""
        with self._answering() as connection:
            for table in self._sink.into:
                if only in {None, table.name}:
                    now, was = self._silver[table].newest(), held(connection, table)
                    self._transfer(connection, table).fill(was, now, table.name)

    def close(self) -> None:
        """Let go of the connection, and with it of the lock."""
        connection, self._connection = self._connection, None
        self._sent.clear()
        self._files.clear()
        if connection is not None:
            connection.close()

    @contextmanager
    def _answering(self) -> Iterator[psycopg.Connection]:
        """The connection, made where there is none; Postgres's errors become ours."""
        try:
            if self._connection is None or self._connection.closed:
                self.close()
                self._connection = self._opened()
            yield self._connection
        except psycopg.errors.LockNotAvailable as error:
            self.close()
            raise ServiceAway(
                f"{self._place}, {self.name}",
                "a table is locked by processes of the server: "
                + holders(self._settings.postgres, self._sink),
                "wait until they commit, or: SELECT pg_terminate_backend(...)",
            ) from error  # fmt: skip
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.close()
            raise unavailable(self._settings.postgres, error) from error
        except psycopg.errors.UndefinedTable as error:
            self.close()
            raise ServiceAway(
                f"{self._place}, {self.name}", f"{str(error).splitlines()[0]}: it was dropped",
                "wait: the table is rebuilt and filled",
            ) from error  # fmt: skip
        except psycopg.Error as error:
            self.close()
            raise self._refused(error) from error
        except BaseException:
            self.close()
            raise

    def _refused(self, error: psycopg.Error) -> ServiceRefuses:
        """What the server says of a statement, and what to do."""
        mend = "mend the table, or drop it: it is rebuilt and filled"
        return ServiceRefuses(
            f"{self._place}, {self.name}", str(error).splitlines()[0], right_lacking(error) or mend
        )

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

    def _transfer(self, connection: psycopg.Connection, table: PostgresTable) -> Transfer:
        return Transfer(self.name, self._place, table, connection, self._duck)

    def _take_handed(
        self, connection: psycopg.Connection, table: PostgresTable, now: Version
    ) -> None:
        """Send what silver's table gained since the version that the table has, where it is known.

        ``now`` is the newest that silver has published.
        """
        sent = self._sent.get(table)
        if sent is None or not _is_ours(sent, now):
            return
        piece = self._handed.after(table.source, sent.applied, self.name)
        if piece is None or not {*table.key} <= {*piece.key}:
            return  # of keys that are gone it would not say which they were
        was = held(connection, table)
        if was is None or not _is_of(was, sent) or self._is_another(connection, table):
            return
        self._transfer(connection, table).send_handed(was, now, piece)
        is_ahead = now.applied != piece.applied
        self._sent[table] = _Sent(sent.version if is_ahead else now, piece.applied)

    def _bring(
        self, connection: psycopg.Connection, table: PostgresTable, now: Version, applied: Applied
    ) -> None:
        """Bring one table to a version of silver, which has applied a version of bronze."""
        was, transfer = held(connection, table), self._transfer(connection, table)
        self._check_owner(connection, table, was, now)
        sent = self._sent.get(table)
        if self._is_another(connection, table):
            log.warning("refilled", table=table.name, version=now.number,
                        reason="it was emptied, or another was put in its place")  # fmt: skip
            sent = None
        elif was is None or sent is None or not _is_of(was, sent):
            sent = self._found(connection, table, was, now)
        self._files[table] = file_of(connection, table)
        is_ahead = was is not None and was.applied.version > applied.version
        if was is None or sent is None:
            transfer.fill(was, now)
        elif _is_same(sent.version, now) or (is_ahead and not sent.is_ours):
            self._sent[table] = sent
            return
        elif was.ahead and was.ahead.version >= applied.version and _is_ours(sent, now):
            transfer.meet(was, now, applied)
            self._sent[table] = _Sent(now, was.applied)
            return
        else:
            try:
                transfer.send(was, sent.version, now)
            except (duckdb.IOException, FileNotFoundError, TableDamaged) as gone:
                log.info("refilled", table=table.name, reason=str(gone).splitlines()[0])
                transfer.fill(was, now)
        self._sent[table] = _Sent(now, applied)

    def _is_another(self, connection: psycopg.Connection, table: PostgresTable) -> bool:
        """Whether another hand emptied the table, or replaced it, since this process filled it."""
        return table in self._files and self._files[table] != file_of(connection, table)

    def _found(
        self, connection: psycopg.Connection, table: PostgresTable, was: Held | None, now: Version
    ) -> _Sent | None:
        """What the table holds, by its record; None where it is to be refilled."""
        if was is None:
            return None
        found = self._silver[table].at(was.silver_id, was.silver_version, was.silver_time)
        reason = "silver no longer has the version that it holds" if found is None else ""
        if found and found.has_rows and is_empty(connection, table):
            reason = "it is empty, and its record says that it has rows"
        elif was.ahead and not has_commit(self._bronze, was.ahead):
            reason = "it has rows of a version that bronze does not have"
        elif was.ahead and not knows_ahead(connection, table):
            reason = f"{AHEAD} does not say which rows it was sent before silver had them"
        if reason:
            log.warning("refilled", table=table.name, version=now.number, reason=reason)
        return None if reason or not found else _Sent(found, was.applied, was.ahead is None)

    def _check_owner(
        self, connection: psycopg.Connection, table: PostgresTable, was: Held | None, now: Version
    ) -> None:
        fault = ""
        if was is None:
            if not is_empty(connection, table):
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


def _is_same(version: Version, now: Version) -> bool:
    return (version.id, version.number, version.time) == (now.id, now.number, now.time)


def _is_ours(sent: _Sent, now: Version) -> bool:
    """Whether what this process has sent is in this version, of the same table."""
    return sent.is_ours and sent.version.id == now.id


def _is_of(was: Held, sent: _Sent) -> bool:
    """Whether the record says what this process has sent."""
    return (was.silver_id, was.silver_version, was.applied.version) == (
        sent.version.id, sent.version.number, sent.applied.version,
    )  # fmt: skip
