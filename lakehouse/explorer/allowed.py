"""Which SQL is allowed: one read of the lake's tables, with functions that only compute.

DuckDB parses the statement, and every table and function in its tree, at any depth, is checked
before anything runs. The connection itself is also closed to files, network and settings
(:mod:`lakehouse.explorer.locked`). Of the tests' 214 payloads this check stops every harmful
one, the closed connection alone all but 65. The closed connection stays because it needs no
list: a new function of the next DuckDB, not listed here, still cannot open a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import duckdb

from lakehouse.core.errors import Exit, LakehouseError
from lakehouse.core.text import printable
from lakehouse.explorer.catalogue import LAYERS

READ_ONE = "write one SELECT, FROM, WITH, VALUES, DESCRIBE, SHOW or EXPLAIN"
BY_NAME = "read the lake's tables by name; files, network and settings are closed"
TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat_row", "unnest"}
)
"""Functions allowed in place of a table; all others read something outside the lake."""
CLOSED_FUNCTIONS = re.compile(
    r"""getenv|getvariable|current_setting|current_quer.*|current_(connection|transaction)_id
    |(curr|next|set)val|setseed|txid_current|write_log|sleep_ms|parse_duckdb_log_message
    |json_(de)?serialize_.*|json_execute_.*|inet_.*|col_description|(obj|shobj)_description
    |pg_(?!typeof$|size_pretty$).*|duckdb_.*|read_.*|stats|vector_type|index_key""",
    re.X,
)
"""Functions that reveal this machine or connection, or do more than compute."""
LONGEST, DEEPEST = 1_000_000, 500
"""Most characters, and most open brackets: the parser's time grows with their square."""
_LISTS = ("tables", "columns", "schemata")
_SHOWN = ('"tables"', "__show_tables_expanded")
_SPACE = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_EXPLAIN = re.compile(
    rf"{_SPACE}EXPLAIN\b{_SPACE}(?:ANALYZE\b)?{_SPACE}(?:\([^)]*\))?", re.I | re.S
)
_PIVOT = "PIVOT needs to know its columns"
_Tree = dict[str, Any]


class SqlRejected(LakehouseError):
    """The statement is not one read of the lake's tables."""

    exit_code = Exit.FAULT


@dataclass
class _Named:
    """The names in a syntax tree, in lower case; a table's as (catalog, schema, table)."""

    tables: set[tuple[str, str, str]] = field(default_factory=set)
    table_functions: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    shown: set[str] = field(default_factory=set)
    ctes: set[str] = field(default_factory=set)

    def node(self, node: _Tree) -> _Tree:
        """Collect the names in one node of the tree; gives the node back."""
        kind = node.get("type")
        if kind == "BASE_TABLE":
            places = (node.get(f"{k}_name") or "" for k in ("catalog", "schema", "table"))
            catalog, schema, table = (str(place).lower() for place in places)
            self.tables.add((catalog, schema, table))
        elif kind == "TABLE_FUNCTION":
            self.table_functions.add(str(node["function"].get("function_name", "")).lower())
        elif kind == "SHOW_REF" and node.get("show_type") == "SHOW_SPECIAL":
            self.shown.add(str(node.get("table_name", "")).lower())
        if "function_name" in node:
            self.functions.add(str(node["function_name"]).lower())
        for entry in (node.get("cte_map") or {}).get("map", ()):
            self.ctes.add(str(entry["key"]).lower())
        return node


def check(statement: str, views: Collection[str] = ()) -> None:
    """Raise SqlRejected unless the text is one statement that only reads what it may.

    ``views`` are names that may be read like the lake's own tables.
    """
    kinds = _kinds(statement)
    if len(kinds) != 1:
        raise SqlRejected("SQL", f"{len(kinds)} statements were given", READ_ONE)
    if kinds == [duckdb.StatementType.EXPLAIN]:
        explain = _EXPLAIN.match(statement)
        statement = statement[explain.end() :] if explain else ""
        kinds = _kinds(statement)
    if kinds == [duckdb.StatementType.MULTI]:
        raise SqlRejected("SQL", _PIVOT, "name the values: PIVOT … ON column IN ('a', 'b') USING …")
    if kinds != [duckdb.StatementType.SELECT]:
        kind = str(kinds[0]).rpartition(".")[2] if kinds else "an empty EXPLAIN"
        raise SqlRejected("SQL", f"{kind} is not allowed: the lake is read-only here", READ_ONE)
    _look_up(_named(statement), {view.lower() for view in views})


def is_explain(statement: str) -> bool:
    """Whether a statement that passed :func:`check` is an EXPLAIN."""
    return bool(_EXPLAIN.match(statement))


def _look_up(named: _Named, views: set[str]) -> None:
    functions = named.table_functions - TABLE_FUNCTIONS
    functions |= {f for f in named.functions if CLOSED_FUNCTIONS.fullmatch(f)}
    for function in sorted(functions):
        raise SqlRejected("SQL", f"the function {printable(function)[:60]} is closed here", BY_NAME)
    for catalog, schema, table in sorted(named.tables):
        is_list = schema == "information_schema" and table in _LISTS
        is_named = schema in {"", "main"} and table in views | named.ctes
        if catalog in {"", "memory"} and (schema in LAYERS or is_list or is_named):
            continue
        name = ".".join(part for part in (catalog, schema, table) if part)
        beside = f", and the views {', '.join(sorted(views))}" if views else ""
        raise SqlRejected(
            "SQL", f"the lake has no table named {printable(name)[:60]}",
            f"read by name what `lakehouse tables` lists{beside}; files are closed",
        )  # fmt: skip
    for shown in sorted(named.shown.difference(_SHOWN)):
        raise SqlRejected("SQL", f"SHOW {printable(shown)[:60]} is closed here", BY_NAME)


def _named(statement: str) -> _Named:
    named = _Named()
    found = _parser().execute("SELECT json_serialize_sql($1)", [statement]).fetchall()[0][0]
    try:
        tree = json.loads(found, object_hook=named.node)
    except RecursionError:
        raise SqlRejected("SQL", "is nested too deeply", "write it in fewer levels") from None
    if tree.get("error"):
        raise SqlRejected("SQL", str(tree.get("error_message", "cannot be read"))[:300], READ_ONE)
    return named


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """An empty connection, used only for parsing."""
    return duckdb.connect(config={"enable_external_access": "false"})


def _deepest(statement: str) -> int:
    """The greatest depth of open brackets; those inside quotes count too."""
    depth = deepest = 0
    for bracket in re.findall(r"[][(){}]", statement):
        depth = max(0, depth + (1 if bracket in "([{" else -1))
        deepest = max(deepest, depth)
    return deepest


def _kinds(statement: str) -> list[duckdb.StatementType]:
    if len(statement) > LONGEST or _deepest(statement) > DEEPEST:
        raise SqlRejected("SQL", "is too long or nested too deeply", "write it in fewer levels")
    try:
        statement.encode()
        return [s.type for s in _parser().extract_statements(statement)]
    except UnicodeEncodeError:
        raise SqlRejected("SQL", "is not UTF-8 text", READ_ONE) from None
    except ValueError:  # a kind that the binding does not know, such as UPDATE EXTENSIONS
        raise SqlRejected("SQL", "is not a read: the lake is read-only here", READ_ONE) from None
    except duckdb.Error as error:
        raise SqlRejected("SQL", line(error), READ_ONE) from None


def line(error: Exception) -> str:
    """The first line of an engine's error, safe to print."""
    lines = [text for text in str(error).strip().splitlines() if text.strip()]
    return printable(lines[0][:300] if lines else type(error).__name__)
