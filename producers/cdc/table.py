"""The captured table, as Postgres's catalogue describes it, checked against the contract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, get_type_hints

import msgspec
import psycopg

from lakehouse.core.errors import LakehouseError
from lakehouse.core.sql import identifier
from lakehouse.model.contract import base_type
from producers.cdc.state import State
from producers.cdc.values import KINDS, READERS, Kind

STAMP = "change_xid"
"""The column that `--mode poll` reads by; it belongs to the capture, not to the event."""

_WANTED = {int: Kind.INTEGER, str: Kind.TEXT, Decimal: Kind.DECIMAL, datetime: Kind.TIME}

_COLUMNS = """
SELECT a.attname, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE a.atttypid END::bigint,
       a.attnum
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""
_KEY = """
SELECT a.attname, i.indimmediate
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s AND i.indisprimary ORDER BY k.place
"""


class CannotCapture(LakehouseError):
    """The table or the database does not allow every change to be captured in order."""


@dataclass(frozen=True)
class Column:
    """A column and the id of its type; of a domain, that of its base type."""

    name: str
    type_id: int
    number: int = 0
    """Its number in the catalogue; a column that is dropped and added again gets another."""

    @property
    def kind(self) -> Kind:
        """How its values are written in JSON."""
        return KINDS.get(self.type_id, Kind.TEXT)


@dataclass(frozen=True)
class Table:
    """A table's columns in order, and its primary key."""

    schema: str
    name: str
    oid: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    full_identity: bool
    """Whether an update or delete carries the whole old row."""

    @property
    def qualified(self) -> str:
        """The name as people write it: schema.table."""
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """The name as SQL takes it, quoted."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @cached_property
    def readers(self) -> tuple[tuple[str, Any], ...]:
        """Each column's name, with the function from text to JSON value; none for the stamp."""
        return tuple((c.name, None if c.name == STAMP else READERS[c.kind]) for c in self.columns)

    def row(self, texts: Any) -> dict[str, Any]:
        """A row's JSON object from its columns' texts (None is null)."""
        return {
            name: None if text is None else read(text)
            for (name, read), text in zip(self.readers, texts, strict=True)
            if read is not None
        }

    def key_of(self, row: dict[str, Any]) -> dict[str, Any]:
        """The key columns of a row."""
        return {name: row[name] for name in self.key}


def describe(connection: psycopg.Connection, qualified: str) -> Table | None:
    """The table as it is now; None if there is none."""
    schema, _, table = qualified.partition(".")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.oid::bigint, c.relkind, c.relreplident FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s",
            (schema, table),
        )
        found = cursor.fetchone()
        if found is None:
            return None
        oid, kind, identity = found
        if kind != "r":
            raise CannotCapture(
                qualified,
                "is not an ordinary table",
                "name one, and no partitioned one, by `table` in the product's section",
            )
        cursor.execute(_COLUMNS, (oid,))
        columns = tuple(Column(*column) for column in cursor)
        cursor.execute(_KEY, (oid,))
        key = cursor.fetchall()
    if not key or not all(immediate for _, immediate in key):
        raise CannotCapture(
            qualified,
            "its primary key is deferrable: two changes of one row can swap keys"
            if key
            else "has no primary key: no message key can be made",
            f"ALTER TABLE {qualified} ADD PRIMARY KEY (...), not deferrable",
        )
    return Table(schema, table, oid, columns, tuple(n for n, _ in key), identity == "f")


def has_dropped(connection: psycopg.Connection, oid: int) -> bool:
    """Whether the table ever had a column that it no longer has."""
    return _exists(connection, "pg_attribute WHERE attrelid = %s AND attisdropped", oid)


def has_children(connection: psycopg.Connection, oid: int) -> bool:
    """Whether other tables inherit from it: their rows are seen in it, and are not its own."""
    return _exists(connection, "pg_inherits WHERE inhparent = %s", oid)


def _exists(connection: psycopg.Connection, rows: str, oid: int) -> bool:
    found = connection.execute(f"SELECT EXISTS (SELECT FROM {rows})".encode(), (oid,)).fetchone()
    return bool(found and found[0])


def check(table: Table, row: type[msgspec.Struct]) -> None:
    """Raise CannotCapture unless all contract columns exist with the right kind; more may exist."""
    there = {column.name: column.kind for column in table.columns}
    faults = []
    for name, hint in get_type_hints(row, include_extras=True).items():
        wanted = _WANTED[base_type(hint)]
        if name not in there:
            faults.append(f"column {name!r} is gone or renamed")
        elif there[name] is not wanted:
            faults.append(f"column {name!r} is now {there[name]}, not {wanted}")
    if faults:
        raise CannotCapture(
            table.qualified,
            "; ".join(faults) + ": the contract needs it. No change is lost: what follows is "
            "still in the database",
            "give the column its name and type back and start again; where rows were written "
            "or values changed meanwhile, with a new snapshot: --anew",
        )


def needed(table: Table, row: type[msgspec.Struct]) -> dict[str, int]:
    """The contract's columns and their numbers in the catalogue."""
    names = row.__struct_fields__
    return {column.name: column.number for column in table.columns if column.name in names}


def same(now: Table | None, state: State, row: type[msgspec.Struct], anew: str) -> Table:
    """The table as it is now; CannotCapture if it is not the one that the capture began with."""
    if now is None:
        fault = "was dropped or renamed"
    elif now.oid != state.oid:
        fault = "was dropped and recreated, or another table took its name"
    elif now.key != state.key:
        fault = f"has another primary key: ({', '.join(now.key)}), not ({', '.join(state.key)})"
    else:
        check(now, row)
        other = [name for name, n in needed(now, row).items() if state.columns[name] != n]
        if not other:
            return now
        fault = f"column {other[0]!r} was dropped and recreated: every row has another value now"
    raise CannotCapture(state.table, fault, f"put it back, or begin again: {anew}")
