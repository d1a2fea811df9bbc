"""Moves one table of Postgres to what silver has: each way is one transaction with its record.

A sink in silver's process is ahead of silver's table: it is handed what a fold leaves.

Worked example. Silver's ``sessions`` is at version 7, of bronze's 70; a sink has it.

- Before: a fold of bronze's 71 leaves Ada's session, new, and Bob's, who is gone.
- Both are sent with 71, and their keys are kept in ``lakehouse_sink_ahead``: one transaction.
  The record says version 7 of silver, and ahead up to 71. A fold of 72 leaves Ada again: likewise.
- Silver publishes version 8, of bronze's 71. What was sent up to 71 is in it: the record says 8,
  ahead up to 72, and the keys of 71 are forgotten. No row is sent.
- Crash anywhere: the next process hands nothing that this one did, so its sink waits until silver
  has published a version with 72 or more, say 9. It sends all rows of the files that 9 has and 7
  has not, in which are all keys that changed since, and deletes those of the kept keys that are
  not among them: Postgres has 9, and no more.

Of aggregates it is handed what a turn made, once that is committed: most often that is all that
silver's newest version has, and the record says that version at once.

A sink that is handed nothing (a gap, another process) has sent all that there is by a version,
and sends the rows in which two versions differ.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from lakehouse.core import failpoint
from lakehouse.core.errors import ServiceRefuses, TableLocked
from lakehouse.core.failpoint import Step
from lakehouse.core.progress import advance
from lakehouse.core.sql import identifier, listed
from lakehouse.model.sink import PostgresTable
from lakehouse.silver.handed import Piece, last
from lakehouse.silver.latest import GONE
from lakehouse.sinks.postgres_statements import (
    DELETE,
    DELETE_AHEAD,
    DELETE_OTHERS,
    DIFFERS,
    FORGET_AHEAD,
    LEFT,
    NEW,
    OLD,
    SAY_AHEAD,
    UPSERT,
    temporary,
    words,
)
from lakehouse.sinks.postgres_tables import Held, columns_of, held, record, values
from lakehouse.sinks.versions import NONE, Version, rows_of
from lakehouse.storage.follower import NOTHING, Applied

_AT_ONCE = 20_000
"""Rows in memory at a time."""
_EVERY = 2**62
"""Above any version."""


@dataclass(frozen=True)
class Transfer:
    """One table of a sink, over a connection that has the sink's lock."""

    sink: str
    place: str
    table: PostgresTable
    connection: psycopg.Connection
    duck: duckdb.DuckDBPyConnection

    def send(self, was: Held, before: Version, now: Version) -> None:
        """Send the rows that differ between two versions of silver, and what was sent ahead."""
        gained = rows_of(now, now.files - before.files)
        lost = rows_of(before, before.files - now.files)
        every, keys = self._selected(now.schema)
        differing = "" if was.ahead else f" EXCEPT SELECT {every} FROM {lost}"
        none, names = {NONE: now.schema.empty_table()}, self._words(now.schema)
        with self._changing(was, self._held(now)):
            sent = self._copy(NEW, now.schema, none, f"SELECT {every} FROM {gained}{differing}")
            gone = f"SELECT {keys} FROM {lost} EXCEPT SELECT {keys} FROM {gained}"
            self._copy(OLD, now.schema, none, gone)
            self._delete(names)
            if was.ahead:
                self._run(DELETE_AHEAD, names)
                self._run(FORGET_AHEAD, names, _EVERY)
            self._upsert(names, None if was.ahead else sent)

    def fill(self, was: Held | None, now: Version, what: str = "") -> None:
        """Make the table what silver is: rows that are equal stay; told of as ``what``."""
        every, _ = self._selected(now.schema)
        none, names = {NONE: now.schema.empty_table()}, self._words(now.schema)
        with self._changing(was, self._held(now)):
            select, total = f"SELECT {every} FROM {rows_of(now, now.files)}", now.table.count
            sent = self._copy(NEW, now.schema, none, select, what, total() if what else 0)
            if what:
                advance(f"comparing {what} in Postgres", 0, 0)
            self._run("ANALYZE {new}", names)
            self._run(DELETE_OTHERS, names)
            self._run(FORGET_AHEAD, names, _EVERY)
            self._upsert(names)
            self._must_have(sent, self._count(names))

    def send_handed(self, was: Held, now: Version, piece: Piece) -> None:
        """Send what silver's table gained, or is to gain, after what the table has.

        Where that is what silver's newest version ``now`` has, the table has it then.
        """
        schema, is_ahead = now.schema, now.applied != piece.applied
        every, keys = self._selected(schema)
        found = last("rows", self.table.key)
        rows, names = {"rows": piece.rows}, self._words(schema)
        then = replace(was, ahead=piece.applied) if is_ahead else self._held(now)
        with self._changing(was, then):
            sent = self._copy(NEW, schema, rows, f"SELECT {every} FROM {found} WHERE NOT {GONE}")
            if pc.any(piece.rows[GONE]).as_py():
                self._copy(OLD, schema, rows, f"SELECT {keys} FROM {found} WHERE {GONE}")
                self._delete(names)
            if is_ahead:
                self._run(SAY_AHEAD, names, piece.applied.version)
            elif was.ahead:
                self._run(FORGET_AHEAD, names, _EVERY)
            self._upsert(names, sent)
        if is_ahead:
            failpoint.reach(Step.POSTGRES_AHEAD)

    def meet(self, was: Held, now: Version, applied: Applied) -> None:
        """Say that the table has a version of silver, of what is sent already: no row is."""
        ahead = was.ahead if was.applied.version > applied.version else None
        with self._changing(was, replace(self._held(now), ahead=ahead)):
            self._run(FORGET_AHEAD, self._words(now.schema), applied.version)

    def _held(self, now: Version) -> Held:
        applied = now.applied or Applied("", NOTHING)
        return Held(self.sink, applied, now.id, now.number, now.time)

    def _words(self, schema: pa.Schema) -> dict[str, str]:
        return words(self.table, columns_of(self.table, schema))

    def _selected(self, schema: pa.Schema) -> tuple[str, str]:
        """Select-lists of DuckDB: every column, and the key, as Postgres reads them."""
        value = values(self.table, schema)
        named = {name: f"{sql} AS {identifier(name)}" for name, sql in value.items()}
        return ", ".join(named.values()), ", ".join(named[name] for name in self.table.key)

    def _run(self, statement: str, names: Mapping[str, str], version: int = 0) -> int:
        """Run a statement; how many rows it is about."""
        return self.connection.execute(statement.format(version=version, **names).encode()).rowcount

    def _count(self, names: Mapping[str, str]) -> int:
        counted = self.connection.execute("SELECT count(*) FROM {table}".format(**names).encode())
        return int(counted.fetchall()[0][0])

    def _upsert(self, names: Mapping[str, str], sent: int | None = None) -> None:
        """Put the new rows into the table: all, so many as were sent; or those that differ."""
        where = DIFFERS.format(**names) if sent is None else ""
        taken = self._run(UPSERT, {**names, "where": where})
        if sent is not None:
            self._must_have(sent, taken)

    def _delete(self, names: Mapping[str, str]) -> None:
        self._run(DELETE, names)
        if self._run(LEFT, names):
            self._drops("kept rows that are gone: something in the database keeps them")

    def _must_have(self, sent: int, taken: int) -> None:
        if taken != sent:
            self._drops(f"took {taken:,} of {sent:,} rows: something in the database drops others")

    def _drops(self, fault: str) -> NoReturn:
        raise ServiceRefuses(
            f"{self.place}, table {self.table.name}", fault,
            "remove its trigger, rule or children, then start again",
        )  # fmt: skip

    @contextmanager
    def _changing(self, was: Held | None, now: Held) -> Iterator[None]:
        """One transaction that changes the table and its record, or neither."""
        connection, table = self.connection, self.table
        with connection.transaction():
            if held(connection, table, lock=True) != was:
                raise TableLocked(
                    f"{self.place}, table {table.name}", "another writer has changed it meanwhile",
                    "end the other one: a sink has one writer; then start again",
                )  # fmt: skip
            for name, columns in ((NEW, "*"), (OLD, listed(table.key))):
                connection.execute(
                    f"CREATE TEMP TABLE IF NOT EXISTS {identifier(temporary(table, name))} "
                    f"ON COMMIT DELETE ROWS AS SELECT {columns} FROM {identifier(table.name)} "
                    "WITH NO DATA"
                )
            yield
            record(connection, table, now)
            failpoint.reach(Step.POSTGRES_WRITTEN)
        failpoint.reach(Step.POSTGRES_COMMITTED)

    def _copy(
        self, into: str, schema: pa.Schema, tables: Mapping[str, pa.Table], select: str,
        what: str = "", total: int = 0,
    ) -> int:  # fmt: skip
        """Copy what DuckDB selects into a temporary table, told of as ``what``; how many rows."""
        columns: Collection[str] = self.table.key if into == OLD else columns_of(self.table, schema)
        copying = (
            f"COPY {identifier(temporary(self.table, into))} ({listed(columns)}) "
            "FROM STDIN (FORMAT csv)"
        )
        done = 0
        with (
            self.duck.cursor() as own,
            self.connection.cursor() as cursor,
            cursor.copy(copying.encode()) as copy,
        ):
            for name, rows in tables.items():
                own.register(name, rows)
            for batch in own.sql(select).to_arrow_reader(_AT_ONCE):
                out = io.BytesIO()
                csv.write_csv(batch, out, csv.WriteOptions(include_header=False))
                copy.write(out.getvalue())
                done += batch.num_rows
                if what:
                    advance(f"filling {what}", done, max(done, total))
        return done
