"""The publication that a slot reads through: made, checked, and known again.

A publication that leaves out changes leaves no trace in the stream. Its rows in the
catalogue do: every ALTER writes a new version of a row, every DROP and CREATE a row of
another oid, also where the change is undone. So the capture keeps each row's oid and
``xmin``, and looks again after reading and before it says that a position is captured.
What has the same rows now as then was not changed between.
"""

from __future__ import annotations

from typing import Any

import psycopg

from lakehouse.core.sql import identifier
from producers.cdc.table import CannotCapture, Table

_ROWS = """
SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, p.pubviaroot,
    p.puballtables OR r.oid IS NOT NULL{or_schema}, {filters},
    concat_ws(' ', p.oid, p.xmin, r.oid, r.xmin{schema})
FROM pg_publication p
LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = %(oid)s
{join}WHERE p.pubname = %(name)s
"""
_SCHEMA = """LEFT JOIN pg_publication_namespace n ON n.pnpubid = p.oid
    AND n.pnnspid = (SELECT relnamespace FROM pg_class WHERE oid = %(oid)s)
"""
_NEW = _ROWS.format(
    or_schema=" OR n.oid IS NOT NULL", schema=", n.oid, n.xmin", join=_SCHEMA,
    filters="r.prqual IS NOT NULL, r.prattrs IS NOT NULL",
)  # fmt: skip
_OLD = _ROWS.format(or_schema="", schema="", join="", filters="false, false")
"""For version 14, which knows no filters, lists of columns and whole schemas."""


def ensure_publication(connection: Any, name: str, table: Table) -> None:
    """Make the publication, and let it have the table, where either is missing."""
    statement = ""
    if (found := _rows(connection, name, table)) is None:
        statement = f"CREATE PUBLICATION {identifier(name)} FOR TABLE ONLY {table.quoted}"
    elif not found[2]:
        statement = f"ALTER PUBLICATION {identifier(name)} ADD TABLE ONLY {table.quoted}"
    if not statement:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise CannotCapture(
            f"publication {name}",
            f"cannot be made: {str(error).strip()}",
            f"let the table's owner run: {statement}",
        ) from None


def publication_rows(connection: Any, name: str, table: Table, then: str) -> str:
    """The oids and versions of its rows; CannotCapture where it leaves out changes.

    ``then`` is what to do once the publication is mended.
    """
    found = _rows(connection, name, table)
    all_kinds, by_root, is_published, filters, lists, rows = found or (True,) * 2 + (False,) * 4
    fault = remedy = ""
    if found is None:
        fault, remedy = "is gone", "changes since may be lost"
    elif not is_published:
        fault = f"no longer has {table.qualified}"
        remedy = "changes since may be lost"
    elif not all_kinds:
        fault = "does not publish every kind of change"
        remedy = f"ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')"
    elif by_root:
        fault = "publishes the changes of a partition as those of its root"
        remedy = f"ALTER PUBLICATION {name} SET (publish_via_partition_root = false)"
    elif filters or lists:
        fault = "filters rows" if filters else "lists columns"
        remedy = "name a publication of the whole table in the product's section"
    if fault:
        raise CannotCapture(f"publication {name}", fault, remedy + then)
    return str(rows)


def _rows(connection: Any, name: str, table: Table) -> tuple[Any, ...] | None:
    is_new = connection.info.server_version >= 150000
    with connection.cursor() as cursor:
        cursor.execute(_NEW if is_new else _OLD, {"oid": table.oid, "name": name})
        found: tuple[Any, ...] | None = cursor.fetchone()
    return found
