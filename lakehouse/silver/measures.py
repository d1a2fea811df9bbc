"""Whether a measure adds up, and the type declared for it holds its sums."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import duckdb

from lakehouse.core.errors import DeclarationError
from lakehouse.model.flow import MONEY, UNITS, Combine, Measure

Bind = Callable[[str, str], str]
"""Plans a SELECT, or says that it cannot be, at a place; the SQL type of its first column."""
ADDS_UP: dict[Combine, tuple[str, ...]] = {
    "sum": ("sum", "count", "count_star", "count_if"),
    "min": ("min",),
    "max": ("max",),
    "sketch_union": ("sketch_of",),
}
"""How two numbers are joined → the aggregate functions that this is right for."""


def must_hold(measure: Measure, bind: Bind, place: str) -> None:
    """The type declared for a sum holds it exactly."""
    kind = bind(place, f"SELECT {measure.sql} FROM rows")
    if kind in {"DOUBLE", "FLOAT"}:
        raise DeclarationError(
            place, f"{measure.sql} is a float, whose sum depends on the order of rows",
            "sum whole numbers, or decimals as MONEY",
        )  # fmt: skip
    fits = (MONEY,) if re.fullmatch(r"DECIMAL\(\d+,[1-9]\d*\)", kind) else ("BIGINT", UNITS, MONEY)
    if measure.type not in fits:
        raise DeclarationError(
            place, f"{measure.type} does not hold every sum of {kind}", f"use {' or '.join(fits)}"
        )


def must_add_up(connection: duckdb.DuckDBPyConnection, measure: Measure, place: str) -> None:
    """Old and new are joined by ``combine``: right only for the functions of :data:`ADDS_UP`."""
    found = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT {measure.sql}"]).fetchone()
    tree: dict[str, Any] = json.loads(found[0]) if found else {}
    if tree.get("error"):
        raise DeclarationError(place, str(tree["error_message"]), "write one SQL expression")
    values = tree["statements"][0]["node"]["select_list"]
    if len(values) > 1:
        raise DeclarationError(place, f"{measure.sql} is {len(values)} values", "write one")
    node = values[0]
    while node["class"] == "CAST":
        node = node["child"]
    if measure.combine not in ADDS_UP:
        raise DeclarationError(
            place, f"values are not joined by {measure.combine!r}", f"use {', '.join(ADDS_UP)}"
        )
    usable = ADDS_UP[measure.combine]
    if node.get("function_name") not in usable or node["distinct"]:
        raise DeclarationError(
            place, f"{measure.sql} does not add up: of two batches its values cannot be joined "
            f"by {measure.combine}",
            f"make it {', '.join(f'{n}(…)' for n in usable if n != 'count_star')}; "
            "a quotient is a Ratio of two measures, a count of different values a Distinct",
        )  # fmt: skip
