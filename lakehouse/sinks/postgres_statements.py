"""The statements of the Postgres sink: every name in them by identifier()."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from lakehouse.core.sql import identifier, listed
from lakehouse.model.sink import PostgresTable

NEW, OLD = "new", "old"
DELETE = "DELETE FROM {table} USING {old} AS gone WHERE {gone}"
DELETE_OTHERS = "DELETE FROM {table} WHERE NOT EXISTS (SELECT FROM {new} AS gone WHERE {gone})"
UPSERT = (
    "INSERT INTO {table} ({columns}) SELECT {columns} FROM {new} "
    "ON CONFLICT ({key}) DO UPDATE SET {sets} {where}"
)
DIFFERS = "WHERE ROW({held})::text IS DISTINCT FROM ROW({sent})::text"


def words(table: PostgresTable, columns: Iterable[str]) -> dict[str, str]:
    """The parts of the statements: names, each by identifier()."""
    name, quoted = identifier(table.name), {c: identifier(c) for c in columns}
    return {
        "table": name,
        "new": identifier(temporary(table, NEW)),
        "old": identifier(temporary(table, OLD)),
        "columns": ", ".join(quoted.values()),
        "key": listed(table.key),
        "gone": " AND ".join(f"{name}.{quoted[c]} = gone.{quoted[c]}" for c in table.key),
        "sets": ", ".join(f"{c} = excluded.{c}" for c in quoted.values()),
        "held": ", ".join(f"{name}.{c}" for c in quoted.values()),
        "sent": ", ".join(f"excluded.{c}" for c in quoted.values()),
    }


def temporary(table: PostgresTable, what: str) -> str:
    """The name of a temporary table: rows that are new, or keys that are gone."""
    return f"lakehouse_{what}_{zlib.crc32(table.name.encode()):08x}"
