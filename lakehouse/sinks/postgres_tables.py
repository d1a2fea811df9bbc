"""A silver table as Postgres has it: its types, its DDL, its values as text, and its record.

What Postgres cannot hold is written another way, the same for equal values and another for
others, so that no row stops the sink: a NUL in text is ``␀0`` (and ``␀`` is ``␀␀``); text in
a key or an index that is too long for one ends in its hash, and so does one that looks like that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa

from lakehouse.core.sql import identifier, listed, text
from lakehouse.model.sink import PostgresSink, PostgresTable
from lakehouse.storage.follower import Applied

RECORD = "lakehouse_sink"
"""The table that says what the others hold."""
RECORD_DDL = f"""
CREATE TABLE IF NOT EXISTS {RECORD} (
    table_name text PRIMARY KEY,
    sink text NOT NULL,
    bronze_id text NOT NULL,
    bronze_version bigint NOT NULL,
    silver_id text NOT NULL,
    silver_version bigint NOT NULL,
    silver_time bigint,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ahead_version bigint,
    ahead_time bigint
)"""
AHEAD = "lakehouse_sink_ahead"
"""The table with the keys of rows that were sent before silver's table had them."""
AHEAD_DDL = f"""
CREATE TABLE IF NOT EXISTS {AHEAD} (
    table_name text NOT NULL,
    bronze_version bigint NOT NULL,
    key text[] NOT NULL
)"""
_LATER = ("ahead_version", "ahead_time")
"""Columns of the record that an earlier release did not make."""
_FIRST = ("sink", "bronze_id", "bronze_version", "silver_id", "silver_version", "silver_time")
_COLUMNS = ", ".join((*_FIRST, *_LATER))
_EXCLUDED = ", ".join(f"excluded.{name}" for name in (*_FIRST, *_LATER))
_READ = ", ".join((*_FIRST, *(f"(to_jsonb({RECORD}) ->> {text(n)})::bigint" for n in _LATER)))
_FILLED = 70
"""Percent of a page that new rows fill: one that changes often stays on it, and in its indexes."""
_INDEX_BYTES = 2_400
"""Of one entry of a B-tree, whose page takes a little more."""
_KINDS: Sequence[tuple[Any, str]] = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_int8, "smallint"),
    (pa.types.is_int16, "smallint"),
    (pa.types.is_int32, "integer"),
    (pa.types.is_int64, "bigint"),
    (pa.types.is_float32, "real"),
    (pa.types.is_float64, "double precision"),
    (pa.types.is_date, "date"),
)


@dataclass(frozen=True)
class Held:
    """What a table in Postgres says that it holds: whose sink, and which version of silver.

    ``bronze`` is what that version has applied. ``ahead`` is the version up to which rows were
    sent on top of it; then AHEAD has their keys.
    """

    sink: str
    bronze: Applied
    silver_id: str
    silver_version: int
    silver_time: int | None
    ahead: Applied | None = None

    @property
    def applied(self) -> Applied:
        """The version of bronze that the table has."""
        return self.ahead or self.bronze


def held(
    connection: psycopg.Connection, table: PostgresTable, *, lock: bool = False
) -> Held | None:
    """The record of a table, None without one; ``lock`` keeps it as it is until the commit."""
    if connection.execute("SELECT to_regclass(%s)", (RECORD,)).fetchall() == [(None,)]:
        return None
    found = f"SELECT {_READ} FROM {RECORD} WHERE table_name = %s"
    locked = f"{found} FOR UPDATE"
    row = connection.execute(locked if lock else found, (table.name,)).fetchone()
    if row is None:
        return None
    *first, ahead, time = row
    sink, bronze, version, silver, number, moment = first
    beyond = None if ahead is None else Applied(bronze, ahead, time)
    return Held(sink, Applied(bronze, version), silver, number, moment, beyond)


def record(connection: psycopg.Connection, table: PostgresTable, now: Held) -> None:
    """Write it, in the transaction of the rows."""
    connection.execute(
        f"INSERT INTO {RECORD} (table_name, {_COLUMNS}) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
        f"ON CONFLICT (table_name) DO UPDATE SET ({_COLUMNS}, applied_at) = "
        f"ROW({_EXCLUDED}, clock_timestamp())",
        (table.name, now.sink, now.bronze.bronze, now.bronze.version, now.silver_id,
         now.silver_version, now.silver_time, now.ahead and now.ahead.version,
         now.ahead and now.ahead.time),
    )  # fmt: skip


def widened(connection: psycopg.Connection) -> list[str]:
    """The statements that add to the record what an earlier release did not make."""
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND NOT attisdropped",
        (RECORD,),
    ).fetchall()
    lacking = [name for name in _LATER if (name,) not in found]
    return [f"ALTER TABLE {RECORD} ADD COLUMN IF NOT EXISTS {name} bigint" for name in lacking]


def is_empty(connection: psycopg.Connection, table: PostgresTable) -> bool:
    """Whether a table has no row."""
    found = connection.execute(f"SELECT EXISTS (SELECT FROM {identifier(table.name)})").fetchall()
    return found == [(False,)]


def file_of(connection: psycopg.Connection, table: PostgresTable) -> int | None:
    """The file that the server keeps a table in: another once it is emptied or replaced."""
    asked = "SELECT pg_relation_filenode(to_regclass(%s))::bigint"
    row = connection.execute(asked, (identifier(table.name),)).fetchone()
    return None if row is None else row[0]


def knows_ahead(connection: psycopg.Connection, table: PostgresTable) -> bool:
    """Whether AHEAD says which rows a table was sent before silver had them."""
    asked = f"SELECT EXISTS (SELECT FROM {AHEAD} WHERE table_name = %s)"
    return connection.execute(asked, (table.name,)).fetchall() == [(True,)]


def columns_of(table: PostgresTable, schema: pa.Schema) -> dict[str, str]:
    """Column → its type in Postgres."""
    return {f.name: kind_of(f.type) for f in schema if f.name not in table.without}


def kind_of(kind: pa.DataType) -> str:
    """The Postgres type of a column of silver; what has no like is JSON."""
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp without time zone"
    if pa.types.is_nested(kind):
        return "json"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "bytea"
    return next((name for is_it, name in _KINDS if is_it(kind)), "text")


def ddl(sink: PostgresSink, schemas: Mapping[str, pa.Schema]) -> dict[str, str]:
    """Each of a sink's tables and indexes → the statement that makes it."""
    made = {}
    for table in sink.into:
        columns = columns_of(table, schemas[table.source])
        lines = [
            f"    {identifier(name)} {kind}{' NOT NULL' if name in table.key else ''}"
            for name, kind in columns.items()
        ]
        lines.append(f"    PRIMARY KEY ({listed(table.key)})")
        body = ",\n".join(lines)
        made[identifier(table.name)] = (
            f"CREATE TABLE IF NOT EXISTS {identifier(table.name)} (\n{body}\n) "
            f"WITH (fillfactor = {_FILLED})"
        )
        for index in table.indexes:
            name = identifier("_".join([table.name, *index])[:63])
            made[name] = (
                f"CREATE INDEX IF NOT EXISTS {name} ON {identifier(table.name)} ({listed(index)})"
            )
    return made


def missing(connection: psycopg.Connection, names: Collection[str]) -> set[str]:
    """Those of these tables and indexes that are not there.

    A role may lack the right to make a table, and then IF NOT EXISTS is refused of one that is.
    """
    asked = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL"
    return {name for (name,) in connection.execute(asked, ([*names],)).fetchall()}


def values(table: PostgresTable, schema: pa.Schema) -> dict[str, str]:
    """Column → DuckDB's expression of its value as Postgres reads it."""
    kinds = columns_of(table, schema)
    shortest: dict[str, int] = {}
    for index in (table.key, *table.indexes):
        texts = [name for name in index if kinds[name] == "text"]
        for name in texts:
            shortest[name] = min(shortest.get(name, _INDEX_BYTES), _INDEX_BYTES // len(texts))
    return {name: _value(name, kind, shortest.get(name)) for name, kind in kinds.items()}


def _value(name: str, kind: str, most: int | None) -> str:
    column = identifier(name)
    if kind == "bytea":
        return f"'\\x' || lower(hex({column}))"
    if kind == "json":
        return f"CAST(to_json({column}) AS VARCHAR)"
    if kind != "text":
        return f"CAST({column} AS VARCHAR)"
    text = f"replace(replace({column}, '␀', '␀␀'), chr(0), '␀0')"
    if most is None:
        return text
    start = f"left({text}, {most // 8})"  # a character may be four bytes
    fits = f"strlen({text}) <= {most} AND NOT regexp_matches({text}, '… [0-9a-f]{{64}}$')"
    return f"CASE WHEN {fits} THEN {text} ELSE {start} || '… ' || sha256({text}) END"
