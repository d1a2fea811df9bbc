"""Keys of a row that its SELECT does not show: ``strftime(period_start, '%Y-%m') AS month``."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any

from lakehouse.core.errors import LakehouseError
from lakehouse.core.sql import identifier, text
from lakehouse.explorer.allowed import parser
from lakehouse.explorer.arranged import inner
from lakehouse.explorer.matched import equal
from lakehouse.explorer.session import Session

_MARK = "key: "
_MOST = 1_000
_SIMPLE = (str, bool, int, float, Decimal, date)


def unshown(
    session: Session, statement: str, row: Mapping[str, Any], keys: Collection[str]
) -> dict[str, Any]:
    """What all rows like this one have as such keys: the statement is asked again with them beside.

    Empty where it puts rows together, or where its tables have no such columns.
    """
    tree = json.loads(_one("SELECT json_serialize_sql($1)", statement))
    node = (tree.get("statements") or [{}])[0].get("node", {})
    if (
        node.get("type") != "SELECT_NODE"
        or node["group_expressions"]
        or node["aggregate_handling"] != "STANDARD_HANDLING"
    ):
        return {}
    lacking = [key for key in keys if not any(_shows(shown, key) for shown in node["select_list"])]
    if not lacking:
        return {}
    node["select_list"].append(_columns(lacking))
    beside = _one("SELECT json_deserialize_sql($1)", json.dumps(tree))
    same = [
        equal(identifier(name), value)
        for name, value in row.items()
        if value is None or isinstance(value, _SIMPLE)
    ]
    asked = (
        f"SELECT DISTINCT COLUMNS('^{_MARK}') FROM {inner(beside)} "
        f"WHERE {' AND '.join(same) or 'true'} LIMIT {_MOST}"
    )
    with suppress(LakehouseError):  # a sum, or a FROM that has none of the keys
        found = session.ask(asked).rows
        told = {name.removeprefix(_MARK): {*found[name].to_pylist()} for name in found.schema.names}
        if found.num_rows < _MOST and told.keys() <= {*lacking}:  # of two tables, each has its own
            return {key: values.pop() for key, values in told.items() if len(values) == 1}
    return {}


def _shows(shown: Mapping[str, Any], key: str) -> bool:
    """Whether a column of a SELECT is the key itself, under its own name."""
    if shown["type"] == "STAR":
        return True
    names = shown.get("column_names", [""])
    return bool(names[-1] == key and shown["alias"] in {"", key})


def _columns(keys: Collection[str]) -> Any:
    """The tree of those of these columns that there are."""
    named = "|".join(map(re.escape, keys))
    sql = f"SELECT COLUMNS({text(f'^({named})$')}) AS '{_MARK}\\1'"
    return json.loads(_one("SELECT json_serialize_sql($1)", sql))["statements"][0]["node"][
        "select_list"
    ][0]


def _one(sql: str, value: str) -> str:
    [[found]] = parser().execute(sql, [value]).fetchall()
    return str(found)
