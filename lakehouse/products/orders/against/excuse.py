"""Keys that differ because their latest change is in quarantine: it must say what the table has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import duckdb

from lakehouse.model.change import sortable
from lakehouse.products.orders.against.compare import Difference
from lakehouse.products.orders.against.table import CELLS

FETCHED = 1_000


def excused(
    connection: duckdb.DuckDBPyConnection, different: Mapping[int, Difference]
) -> dict[int, str]:
    """Key → verdict, for those whose quarantined change is later than bronze's and is what holds.

    A bad row that was deleted or corrected since is not excused, nor is any key by a record
    that cannot be read.
    """
    found: dict[int, str] = {}
    cursor = connection.execute("SELECT key, value, verdict FROM all_quarantine")
    while batch := cursor.fetchmany(FETCHED):
        for key, value, verdict in batch:
            number = _number(key)
            if number in different and _says(different[number], value):
                found[number] = verdict
    return found


def _number(key: bytes | None) -> Any:
    try:
        return json.loads(key or b"null")["order_id"]
    except (ValueError, TypeError, KeyError):
        return None


def _says(difference: Difference, value: bytes | None) -> bool:
    """Whether a record is a later change than bronze has, and leaves what the table holds."""
    try:
        change = json.loads(value or b"null")
        order = sortable(change["source"]["sequence"])
        after, large = change["after"], change.get("oversized")
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    if difference.lake is not None and order <= difference.lake[0]:
        return False
    if large is not None:
        return True
    if difference.table is None or not isinstance(after, dict):
        return difference.table is None and change.get("op") == "d"
    return tuple(_text(name, after.get(name)) for name in CELLS) == difference.table.cells


def _text(name: str, value: Any) -> str | None:
    """A value of an envelope as the table's text."""
    if value is None:
        return None
    text = str(value)
    if name == "amount" and "." in text:
        return text.rstrip("0").rstrip(".")
    if name == "created_at" and text.endswith("Z"):
        day, _, rest = text.removesuffix("Z").partition("T")
        whole, _, part = rest.partition(".")
        return f"{day} {whole}.{part:0<6}"
    return text
