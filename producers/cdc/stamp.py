"""The stamp that mode poll reads by: a column that a trigger keeps, whoever writes."""

from __future__ import annotations

import re
from typing import Any

from lakehouse.core.sql import identifier
from producers.cdc.table import STAMP, CannotCapture, Table

XID8 = 5069
"""The type id of xid8."""
_BOTH = 4 | 16
"""A trigger's type: it fires for INSERT and UPDATE."""
_INDEXED = """
SELECT EXISTS (SELECT FROM pg_index i
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
               WHERE i.indrelid = %s AND a.attname = %s AND i.indisvalid AND i.indpred IS NULL)
"""
_TRIGGERS = """
SELECT t.tgname, t.tgtype::int, t.tgenabled, t.tgqual IS NULL AND cardinality(t.tgattr) = 0,
    p.prosrc, concat_ws(' ', t.oid, t.xmin, p.oid, p.xmin)
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgrelid = %s AND NOT t.tgisinternal AND t.tgtype::int & 3 = 3
ORDER BY t.tgname
"""
"""The BEFORE triggers for rows, in the order in which they fire."""
_SETS = re.compile(rf"NEW\.{STAMP}\s*:?=\s*pg_current_xact_id\(\)\s*;", re.IGNORECASE)

_ALTER = """
    ALTER TABLE {table} ADD COLUMN IF NOT EXISTS change_xid xid8;
    CREATE INDEX IF NOT EXISTS {index} ON {table} (change_xid, {key});
    CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.change_xid := pg_current_xact_id(); RETURN NEW; END $$;
    CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION {function}();
    ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};"""


def stamp_rows(connection: Any, table: Table, then: str) -> str:
    """The versions of the stamp's rows in the catalogue; CannotCapture where nothing keeps it.

    Empty for a trigger that does not fire where ``session_replication_role`` is ``replica``:
    older captures have one. ``then`` is told to do besides making the stamp.
    """
    number = next((c.number for c in table.columns if (c.name, c.type_id) == (STAMP, XID8)), 0)
    found, fires = _triggers(connection, table)
    keepers = [t for t in found if _SETS.search(t[4]) and t[3] and t[2] in "OA"]
    fault = ""
    if not (number and fires == _BOTH and _is_indexed(connection, table)):
        fault = (
            f"has no indexed column {STAMP} that a trigger keeps: without it late commits and "
            "updates would be missed"
        )
    elif any(STAMP in t[4] for t in found if t not in keepers):
        fault = f"has another trigger that writes {STAMP}"
    if fault:
        raise CannotCapture(table.qualified, fault, f"run this{then}:" + statements(table))
    if any(t[2] == "O" for t in keepers):
        return ""
    return " ".join([str(number), *(t[5] for t in keepers)])


def statements(table: Table) -> str:
    """What makes the stamp."""
    key = ", ".join(map(identifier, table.key))
    return _ALTER.format(
        table=table.quoted, key=key, index=identifier(f"{table.name}_change_xid"),
        function=f"{identifier(table.schema)}.{identifier(f'{table.name}_stamp')}",
        name=identifier(f"{table.name}_stamp"),
    )  # fmt: skip


def _is_indexed(connection: Any, table: Table) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_INDEXED, (table.oid, STAMP))
        return bool(cursor.fetchone()[0])


def _triggers(connection: Any, table: Table) -> tuple[list[Any], int]:
    """The triggers, and for what those fire that set the stamp."""
    with connection.cursor() as cursor:
        cursor.execute(_TRIGGERS, (table.oid,))
        found = cursor.fetchall()
    fires = 0
    for _, kind, enabled, is_plain, source, _ in found:
        if is_plain and enabled in "OA" and _SETS.search(source):
            fires |= kind & _BOTH
    return found, fires
