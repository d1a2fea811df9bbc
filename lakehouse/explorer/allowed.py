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
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

import duckdb

from lakehouse.core.errors import Exit, LakehouseError
from lakehouse.core.text import nearest, printable
from lakehouse.explorer.catalogue import LAYERS
from lakehouse.storage.duck import Limits, opened

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
LONGEST, DEEPEST = 65_536, 500
"""Most bytes, and most open brackets: the parser's time grows with their square."""
_MEMORY = "512MB"
"""Most memory of the parser."""
_LISTS = ("tables", "columns", "schemata")
_SHOWN = ('"tables"', "__show_tables_expanded")
_LONGEST_NAME = 200
"""A longer one is like none."""
_OPTIONS = 24
"""Most words between EXPLAIN and what it explains."""
_POINTED = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.M)
_CANDIDATES = re.compile(r"^(?:Candidate (?:bindings|tables)|Did you mean):?[: ]*(\".*\")", re.M)
_NO_TABLE = re.compile(r"Table with name (\S+) does not exist")
_PIVOT = "PIVOT needs to know its columns"
_Tree = dict[str, Any]


class SqlRejected(LakehouseError):
    """The statement is not one read of the lake's tables."""

    exit_code = Exit.FAULT
    at: tuple[int, int] | None = None
    """Line and column of what is wrong, from 1, where the engine says."""

    def placed(self, statement: str, error: Exception) -> Self:
        """The same, with the place that an engine's error has."""
        if at := _place(statement, str(error)):
            self.at, self.place = at, f"{self.place} line {at[0]}, column {at[1]}"
        return self


class _Unparsed(SqlRejected):
    """DuckDB's parser does not take the text."""


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


def check(
    statement: str,
    views: Collection[str] = (),
    tables: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Raise SqlRejected unless the text is one statement that only reads what it may.

    ``views`` are names that may be read like the lake's own ``tables``, of which the error of a
    name that is not among them names the nearest.
    """
    kinds = _kinds(statement)
    if len(kinds) != 1:
        raise SqlRejected("SQL", f"{len(kinds)} statements were given", READ_ONE)
    if kinds == [duckdb.StatementType.EXPLAIN]:
        statement, kinds = _explained(statement)
    if kinds == [duckdb.StatementType.MULTI]:
        raise SqlRejected("SQL", _PIVOT, "name the values: PIVOT … ON column IN ('a', 'b') USING …")
    if kinds != [duckdb.StatementType.SELECT]:
        kind = str(kinds[0]).rpartition(".")[2] if kinds else "an empty EXPLAIN"
        raise SqlRejected("SQL", f"{kind} is not allowed: the lake is read-only here", READ_ONE)
    _look_up(_named(statement), {view.lower() for view in views}, tables)


def is_explain(statement: str) -> bool:
    """Whether a statement that passed :func:`check` is an EXPLAIN."""
    return _kinds(statement) == [duckdb.StatementType.EXPLAIN]


def _explained(statement: str) -> tuple[str, list[duckdb.StatementType]]:
    """What an EXPLAIN explains, and its kind; empty where that cannot be told.

    DuckDB's parser says where: it is what follows the first of its words from which on the
    text is a statement, as no option of EXPLAIN begins one.
    """
    words = [o for o, kind in duckdb.tokenize(statement) if kind != duckdb.token_type.comment]
    data = statement.encode()
    for place in words[1:_OPTIONS]:
        rest = data[place:].decode("utf-8", "replace")
        with suppress(_Unparsed):
            return rest, _kinds(rest)
    return "", []


def _look_up(named: _Named, views: set[str], tables: Callable[[], Sequence[str]]) -> None:
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
        close = nearest(name[:_LONGEST_NAME], [*tables(), *sorted(views)])
        meant = f"Did you mean {close!r}? " if close else ""
        raise SqlRejected(
            "SQL", f"the lake has no table named {printable(name)[:60]}",
            f"{meant}Read by name what SHOW TABLES lists; files are closed",
        )  # fmt: skip
    for shown in sorted(named.shown.difference(_SHOWN)):
        raise SqlRejected("SQL", f"SHOW {printable(shown)[:60]} is closed here", BY_NAME)


def _named(statement: str) -> _Named:
    named = _Named()
    found = parser().execute("SELECT json_serialize_sql($1)", [statement]).fetchall()[0][0]
    try:
        tree = json.loads(found, object_hook=named.node)
    except RecursionError:
        raise SqlRejected("SQL", "is nested too deeply", "write it in fewer levels") from None
    if tree.get("error"):
        raise SqlRejected("SQL", str(tree.get("error_message", "cannot be read"))[:300], READ_ONE)
    return named


@cache
def parser() -> duckdb.DuckDBPyConnection:
    """An empty connection, used only for parsing."""
    return opened(Limits(_MEMORY, threads=1))


def _deepest(statement: str) -> int:
    """The greatest depth of open brackets; those inside quotes count too."""
    depth = deepest = 0
    for bracket in re.findall(r"[][(){}]", statement):
        depth = max(0, depth + (1 if bracket in "([{" else -1))
        deepest = max(deepest, depth)
    return deepest


def _kinds(statement: str) -> list[duckdb.StatementType]:
    try:
        if len(statement) > LONGEST or len(statement.encode()) > LONGEST:
            raise SqlRejected("SQL", f"is longer than {LONGEST:,} bytes", "make it shorter")
        if _deepest(statement) > DEEPEST:
            raise SqlRejected("SQL", "is nested too deeply", "write it in fewer levels")
        return [s.type for s in parser().extract_statements(statement)]
    except UnicodeEncodeError:
        raise SqlRejected("SQL", "is not UTF-8 text", READ_ONE) from None
    except ValueError:  # a kind that the binding does not know, such as UPDATE EXTENSIONS
        raise SqlRejected("SQL", "is not a read: the lake is read-only here", READ_ONE) from None
    except duckdb.Error as error:
        raise _Unparsed("SQL", line(error), READ_ONE).placed(statement, error) from None


def _place(statement: str, error: str) -> tuple[int, int] | None:
    """Line and column, from 1, that an engine's error points at by a caret below an excerpt."""
    if not (found := _POINTED.search(error)):
        return None
    number, before = int(found[1]), len(found[3]) - len(f"LINE {found[1]}: ")
    lines, excerpt = statement.split("\n"), found[2]
    if number > len(lines) or before < 0:
        return None
    if excerpt.startswith("..."):  # the middle of a long line
        cut = excerpt.removeprefix("...").removesuffix("...")
        before += lines[number - 1].find(cut) - 3
    return number, before + 1


def line(error: Exception) -> str:
    """The first line of an engine's error, safe to print."""
    lines = [text for text in str(error).strip().splitlines() if text.strip()]
    return printable(lines[0][:300] if lines else type(error).__name__)


def candidates(error: Exception, tables: Sequence[str]) -> str:
    """The names that an engine's error has in the place of a wrong one; empty where it has none.

    Of a table it is the nearest of ``tables``: the engine would name one of its own.
    """
    if wrong := _NO_TABLE.search(str(error)):
        return nearest(wrong[1][:_LONGEST_NAME], tables) or ""
    found = _CANDIDATES.search(str(error))
    names = re.findall(r'"((?:[^"]|"")+)"', found[1])[:3] if found else []
    return printable(" or ".join(names))[:200]
