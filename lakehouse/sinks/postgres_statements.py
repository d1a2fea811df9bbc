"""The statements of the Postgres sink: every name in them by identifier()."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from lakehouse.core.sql import identifier, listed, text
from lakehouse.model.sink import PostgresTable
from lakehouse.sinks.postgres_tables import AHEAD

NEW, OLD = "new", "old"
DELETE = "DELETE FROM {table} USING {old} AS gone WHERE {gone}"
LEFT = "SELECT FROM {table} JOIN {old} AS gone ON {gone} LIMIT 1"
DELETE_OTHERS = "DELETE FROM {table} WHERE NOT EXISTS (SELECT FROM {new} AS gone WHERE {gone})"
UPSERT = (
    "INSERT INTO {table} ({columns}) SELECT {columns} FROM {new} "
    "ON CONFLICT ({key}) DO UPDATE SET {sets} {where}"
)
DIFFERS = "WHERE ROW({held})::text IS DISTINCT FROM ROW({sent})::text"
SAY_AHEAD = (
    f"INSERT INTO {AHEAD} (table_name, bronze_version, key) "
    "SELECT {name}, {version}, ARRAY[{texts}] "
    "FROM (SELECT {key} FROM {new} UNION ALL SELECT {key} FROM {old}) AS sent"
)
DELETE_AHEAD = (
    "DELETE FROM {table} USING (SELECT {parsed} "
    f"FROM {AHEAD} "
    "WHERE table_name = {name}) AS gone WHERE {gone} "
    "AND NOT EXISTS (SELECT FROM {new} AS sent WHERE {still})"
)
FORGET_AHEAD = f"DELETE FROM {AHEAD} WHERE table_name = {{name}} AND bronze_version <= {{version}}"


def words(table: PostgresTable, kinds: Mapping[str, str]) -> dict[str, str]:
    """The parts of the statements: names, each by identifier(), and types of columns_of()."""
    name, quoted = identifier(table.name), {c: identifier(c) for c in kinds}
    return {
        "table": name,
        "name": text(table.name),
        "new": identifier(temporary(table, NEW)),
        "old": identifier(temporary(table, OLD)),
        "columns": ", ".join(quoted.values()),
        "key": listed(table.key),
        "gone": " AND ".join(f"{name}.{quoted[c]} = gone.{quoted[c]}" for c in table.key),
        "still": " AND ".join(f"{name}.{quoted[c]} = sent.{quoted[c]}" for c in table.key),
        "texts": ", ".join(f"{quoted[c]}::text" for c in table.key),
        "parsed": parsed(table, kinds),
        "sets": ", ".join(f"{c} = excluded.{c}" for c in quoted.values()),
        "held": ", ".join(f"{name}.{c}" for c in quoted.values()),
        "sent": ", ".join(f"excluded.{c}" for c in quoted.values()),
    }


def parsed(table: PostgresTable, kinds: Mapping[str, str]) -> str:
    """The select-list that reads a table's key from what AHEAD says of it."""
    return ", ".join(f"key[{n}]::{kinds[c]} AS {identifier(c)}" for n, c in enumerate(table.key, 1))


def temporary(table: PostgresTable, what: str) -> str:
    """The name of a temporary table: rows that are new, or keys that are gone."""
    return f"lakehouse_{what}_{zlib.crc32(table.name.encode()):08x}"
