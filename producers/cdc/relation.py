"""The columns that a table had when its rows were written, named as they are now."""

from __future__ import annotations

from typing import Any

from producers.cdc.pgoutput import Relation
from producers.cdc.plan import Plan
from producers.cdc.state import State
from producers.cdc.table import CannotCapture, Column, Table, describe, has_dropped, needed
from producers.cdc.witness import table_rows

_ORDERED = """
SELECT attname, attgenerated <> '' FROM pg_attribute
WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v' ORDER BY attnum
"""
"""Columns, and whether they are generated: a publication may tell those that are stored, too."""


def columns_then(
    connection: Any, table: Table, relation: Relation, plan: Plan, state: State
) -> tuple[Column, ...]:
    """The columns of the rows that follow in the stream; one of a domain has its base type.

    CannotCapture where nobody can tell which is which.
    """
    names = _names(connection, table, relation, plan, state)
    bases = _base_types(connection, relation.type_ids)
    return tuple(
        Column(name, bases.get(type_id, type_id))
        for name, type_id in zip(names, relation.type_ids, strict=True)
    )


def _names(
    connection: Any, table: Table, relation: Relation, plan: Plan, state: State
) -> tuple[str, ...]:
    """Their names, those of the contract as they are now: one may be renamed back.

    Known by their order. Where a column may have been dropped since, they are as they were then,
    unless the contract's columns were altered too.
    """
    now = describe(connection, table.qualified)
    if now is None:
        return relation.columns
    wanted = needed(now, plan.row)
    pairs = zip(_ordered(connection, table, relation), relation.columns, strict=False)
    names = tuple(name if name in wanted else then for name, then in pairs)
    is_whole = len(names) == len(relation.columns) and not has_dropped(connection, table.oid)
    if names == relation.columns or is_whole:
        return names
    if table_rows(connection, table.oid, wanted)["columns"] == state.witness.get("columns"):
        return relation.columns
    raise CannotCapture(
        table.qualified,
        "had columns altered, and others dropped: what each value of the rows that were written "
        f"as ({', '.join(relation.columns)}) is of cannot be told",
        f"begin again: {plan.anew}",
    )


def _ordered(connection: Any, table: Table, relation: Relation) -> list[str]:
    """The columns as they are named now, those that are generated where the stream tells them."""
    with connection.cursor() as cursor:
        cursor.execute(_ORDERED, (table.oid,))
        columns = cursor.fetchall()
    are_told = any(is_made and name in relation.columns for name, is_made in columns)
    return [name for name, is_made in columns if are_told or not is_made]


def _base_types(connection: Any, type_ids: tuple[int, ...]) -> dict[int, int]:
    """Types of domains and their base types."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::bigint, typbasetype::bigint FROM pg_type "
            "WHERE oid = ANY(%s::oid[]) AND typtype = 'd'",
            (list(type_ids),),
        )
        return dict(cursor.fetchall())
