"""The publication that a slot reads through: made, checked, and known again.

A publication that leaves out changes leaves no trace in the stream. Its rows in the
catalogue do: every ALTER writes a new version of a row, every DROP and CREATE a row of
another oid, also where the change is undone. So the capture keeps each row's oid and
``xmin``, and looks again after reading and before it says that a position is captured.
What has the same rows now as then was not changed between.

A table that is published as one of all, or of its schema, has no row there: it can be made
UNLOGGED, or moved to another schema, written to, and put back. So it must be named.
"""

from __future__ import annotations

from typing import Any

import psycopg

from lakehouse.core.sql import identifier
from producers.cdc.table import CannotCapture, Table

_ROWS = """
SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, p.pubviaroot,
    r.oid IS NOT NULL, {filters}, concat_ws(' ', p.oid, p.xmin, r.oid, r.xmin)
FROM pg_publication p
LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = %(oid)s
WHERE p.pubname = %(name)s
"""
_NEW = _ROWS.format(filters="r.prqual IS NOT NULL, r.prattrs IS NOT NULL")
_OLD = _ROWS.format(filters="false, false")
"""For version 14, which knows no filters and lists of columns."""


_GENERATED = " WITH (publish_generated_columns = stored)"
"""From version 18 on: without it nobody may update a table that has such a column."""
_REMEDIES: dict[type[psycopg.Error], str] = {
    psycopg.errors.InsufficientPrivilege: "let the table's owner run: {statement}",
    psycopg.errors.InvalidParameterValue: "ALTER TABLE {table} SET LOGGED: what is written to a "
    "table that is UNLOGGED is in no log, and cannot be captured",
    psycopg.errors.ObjectNotInPrerequisiteState: "name one of the table itself, or one that is "
    "not there yet, in the product's section",
}
"""What Postgres says of a table that a publication cannot name → what to do."""


def ensure_publication(connection: Any, name: str, table: Table) -> None:
    """Make the publication, and let it have the table, where either is missing."""
    statement = ""
    if (found := _rows(connection, name, table)) is None:
        is_new = connection.info.server_version >= 180000
        statement = f"CREATE PUBLICATION {identifier(name)} FOR TABLE ONLY {table.quoted}"
        statement += _GENERATED * is_new
    elif not found[2]:
        statement = f"ALTER PUBLICATION {identifier(name)} ADD TABLE ONLY {table.quoted}"
    if not statement:
        return
    if names := _virtual(connection, table):
        raise CannotCapture(
            table.qualified,
            f"has virtual generated columns ({names}): once the table is published, and its "
            "replica identity FULL, Postgres lets nobody update or delete its rows",
            "make them STORED, or use --mode poll",
        )
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except tuple(_REMEDIES) as error:
        raise CannotCapture(
            f"publication {name}",
            f"cannot be made: {' '.join(str(error).split())}",
            _REMEDIES[type(error)].format(statement=statement, table=table.quoted),
        ) from None


def _virtual(connection: Any, table: Table) -> str:
    """The names of columns that no publication can tell."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute "
            "WHERE attrelid = %s AND NOT attisdropped AND attgenerated = 'v'", (table.oid,),
        )  # fmt: skip
        return cursor.fetchone()[0] or ""


def publication_rows(connection: Any, name: str, table: Table, then: str) -> str:
    """The oids and versions of its rows; CannotCapture where it leaves out changes.

    ``then`` is what to do once the publication is mended.
    """
    found = _rows(connection, name, table)
    all_kinds, by_root, is_named, filters, lists, rows = found or (True,) * 2 + (False,) * 4
    fault = remedy = ""
    if found is None:
        fault, remedy = "is gone", "changes since may be lost"
    elif not is_named:
        fault = f"does not name {table.qualified}: changes may be lost"
        remedy = (
            f"ALTER PUBLICATION {name} ADD TABLE ONLY {table.quoted}, or, where it is FOR ALL "
            "TABLES, name another in the product's section"
        )
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
