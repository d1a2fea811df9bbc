"""A sink's tables in Postgres against silver, row by row, at the version that each says it has.

Rows that a sink has sent ahead of that version are left out, by their keys, and counted: the
table is behind by what silver's table lacks, and those rows are compared once it has them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial

import psycopg
import pyarrow as pa
from psycopg import IsolationLevel
from pyarrow import csv

from lakehouse.audit.compare import Compared, differences, or_doubt
from lakehouse.audit.pins import Pin, Snapshots, count
from lakehouse.core.errors import ServiceUnavailable, TableDamaged
from lakehouse.core.sql import identifier, listed, text
from lakehouse.model.sink import PostgresSink, PostgresTable
from lakehouse.settings.postgres_client import connect, right_lacking, unavailable
from lakehouse.settings.settings import Settings
from lakehouse.sinks.postgres_statements import parsed
from lakehouse.sinks.postgres_tables import AHEAD, Held, columns_of, held, values
from lakehouse.storage.log import commit_time

_BYTES = 8 * 2**20
"""Of Postgres's text in memory at a time."""
_AS_TEXT = {"text", "bytea", "json"}
"""Types whose text is compared; of others the value."""


def compare_postgres(
    snapshots: Snapshots, sink: PostgresSink, settings: Settings, bronze: Pin
) -> list[Compared]:
    """Every column of every table of the sink; a doubt where the database does not answer."""
    return [
        or_doubt(
            snapshots,
            sink.place(table),
            partial(_compare, snapshots, sink, table, settings, bronze),
        )
        for table in sink.into
    ]


def _compare(
    snapshots: Snapshots, sink: PostgresSink, table: PostgresTable, settings: Settings, bronze: Pin
) -> Compared:
    name = sink.place(table)
    if not settings.postgres.url:
        raise ServiceUnavailable(
            "Postgres", "is not named, and no data of this lake's embedded one is here",
            "name the database by [postgres] url",
        )  # fmt: skip
    if not snapshots.exists(table.source):
        return Compared(name, doubt=f"{table.source} does not exist (yet)")
    schema = pa.schema(snapshots.open(table.source).schema().to_arrow())
    kinds = columns_of(table, schema)
    try:
        with closing(connect(settings.postgres)) as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.execute("SET lock_timeout = '10s'")
            with connection.transaction():
                if not _exists(connection, table):
                    return Compared(name, doubt="does not exist (yet)")
                was = held(connection, table)
                if was is None:
                    return Compared(name, doubt="no record says what it holds")
                # as its readers see it: with the rows of children, too
                rows = f"(SELECT {listed(kinds)} FROM {identifier(table.name)})"
                _read(snapshots, connection, "told", rows, [*kinds])
                _read(snapshots, connection, "ahead", _ahead(table, kinds, was), [*table.key])
    except psycopg.errors.LockNotAvailable:
        return Compared(name, doubt="is locked by another process of the server: audit again")
    except psycopg.OperationalError as error:
        raise unavailable(settings.postgres, error) from error
    except psycopg.errors.UndefinedColumn as error:
        return Compared(name, fault=str(error).splitlines()[0])
    except psycopg.errors.InsufficientPrivilege as error:
        told = str(error).splitlines()[0]
        return Compared(name, doubt=f"cannot be read whole: {told}: {right_lacking(error)}")
    found = Compared(name, source=was.bronze.version)
    if was.bronze.bronze != bronze.id:
        return replace(found, doubt=f"was filled from another lake, of bronze {was.bronze.bronze}")
    if doubt := _pinned(snapshots, table, was, sink.name):
        return replace(found, doubt=doubt)
    return _differing(snapshots, found, table, schema, bronze)


def _exists(connection: psycopg.Connection, table: PostgresTable) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", (identifier(table.name),)).fetchone()
    return row is not None and row[0] is not None


def _ahead(table: PostgresTable, kinds: Mapping[str, str], was: Held) -> str:
    """What COPY reads the keys of rows from that were sent ahead."""
    if was.ahead is None:
        return f"(SELECT {listed(table.key)} FROM {identifier(table.name)} WHERE false)"
    asked = f"SELECT DISTINCT {parsed(table, kinds)} FROM {AHEAD}"
    return f"({asked} WHERE table_name = {text(table.name)})"


def _read(
    snapshots: Snapshots, connection: psycopg.Connection, into: str, rows: str, columns: list[str]
) -> None:
    """Make a table of what Postgres has, as text."""
    duck = snapshots.connection
    typed = ", ".join(f"{identifier(c)} VARCHAR" for c in columns)
    duck.execute("CREATE OR REPLACE TEMP TABLE " + into + " (" + typed + ")")
    for part in _parts(connection, rows):
        told = csv.read_csv(
            part,
            csv.ReadOptions(column_names=columns, block_size=part.getbuffer().nbytes),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), null_values=[""],
                strings_can_be_null=True, quoted_strings_can_be_null=False,
            ),
        )  # fmt: skip
        duck.register("part_told", told)
        duck.execute("INSERT INTO " + into + " FROM part_told")
        duck.unregister("part_told")


def _parts(connection: psycopg.Connection, rows: str) -> Iterator[io.BytesIO]:
    """What Postgres copies out as CSV, whole rows, a part at a time."""
    part = io.BytesIO()
    asked = f"COPY {rows} TO STDOUT (FORMAT csv)"
    with connection.cursor() as cursor, cursor.copy(asked.encode()) as copy:
        for row in copy:
            part.write(row)
            if part.tell() > _BYTES:
                yield io.BytesIO(part.getvalue())
                part = io.BytesIO()
    if part.tell():
        yield io.BytesIO(part.getvalue())


def _pinned(snapshots: Snapshots, table: PostgresTable, was: Held, flow: str) -> str:
    """Make ``silver_then`` the version that Postgres has; why that is not possible, or nothing."""
    gone = (
        f"silver no longer has version {was.silver_version}, which it holds: "
        f"run {flow}, then audit again"
    )
    if str(snapshots.open(table.source).metadata().id) != was.silver_id:
        return gone
    known = commit_time(snapshots.lake.table(table.source), was.silver_version)
    if None not in {known, was.silver_time} and known != was.silver_time:
        return gone
    try:
        snapshots.pin("silver_then", table.source, was.silver_version)
        count(snapshots.connection, "silver_then")
    except (TableDamaged, OSError):
        return gone
    return ""


def _differing(
    snapshots: Snapshots, found: Compared, table: PostgresTable, schema: pa.Schema, bronze: Pin
) -> Compared:
    duck, kinds = snapshots.connection, columns_of(table, schema)
    rendered = values(table, schema)
    wanted = ", ".join(
        f"{sql if kinds[name] in _AS_TEXT else identifier(name)} AS {identifier(name)}"
        for name, sql in rendered.items()
    )
    duck.execute("CREATE OR REPLACE TEMP TABLE wanted AS SELECT " + wanted + " FROM silver_then")
    types = {row[0]: row[1] for row in duck.execute("DESCRIBE wanted").fetchall()}
    cast = {c: f"CAST({identifier(c)} AS {types[c]}) AS {identifier(c)}" for c in kinds}
    keys, every = ", ".join(cast[c] for c in table.key), ", ".join(cast.values())
    same = " AND ".join(f"wanted.{identifier(c)} = sent.{identifier(c)}" for c in table.key)
    duck.execute("DELETE FROM wanted USING (SELECT " + keys + " FROM ahead) AS sent WHERE " + same)
    left = f"told ANTI JOIN ahead USING ({listed(table.key)})"
    snapshots.view_files("held", f"SELECT {every} FROM {left}", [])
    version = max(found.source or 0, 0)
    report = replace(
        found,
        behind=max(0, bronze.version - version),
        rows=count(duck, "held"),
        ahead=count(duck, "ahead"),
        recomputed=count(duck, "wanted"),
        lacking=snapshots.changed_rows(bronze.name, version, max(version, bronze.version)),
    )
    differing, first = differences(duck, [*kinds], table.key)
    duck.execute("DROP TABLE wanted")
    return replace(report, differing=differing, first=first)
