"""What may come next in a statement: tables, views, columns and words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lakehouse.core.sql import identifier
from lakehouse.explorer.catalogue import LAYERS

KEYWORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "GROUP BY ALL", "ORDER BY", "ORDER BY ALL", "HAVING",
    "LIMIT", "OFFSET", "JOIN", "LEFT JOIN", "FULL JOIN", "ASOF JOIN", "SEMI JOIN", "ANTI JOIN",
    "ON", "USING", "AS", "AND", "OR", "NOT", "IN", "IS NULL", "IS NOT NULL", "BETWEEN", "LIKE",
    "ILIKE", "CASE", "WHEN", "THEN", "ELSE", "END", "DISTINCT", "WITH", "UNION ALL", "EXCEPT",
    "INTERSECT", "QUALIFY", "OVER", "PARTITION BY", "DESC", "ASC", "NULLS LAST", "CAST", "INTERVAL",
    "DESCRIBE", "SHOW TABLES", "EXPLAIN", "VALUES", "FILTER", "EXCLUDE",
)  # fmt: skip
FUNCTIONS = (
    "count", "sum", "min", "max", "avg", "median", "any_value", "arg_max", "arg_min", "coalesce",
    "date_trunc", "date_diff", "strftime", "row_number", "rank", "lag", "lead", "round", "abs",
    "lower", "upper", "length", "substr", "contains", "regexp_matches", "string_agg", "list",
    "unnest", "quantile_cont", "approx_count_distinct", "time_bucket", "decode",
)  # fmt: skip
WORDS = re.compile(
    r"\b(" + "|".join(sorted({w for k in KEYWORDS for w in k.split()}, key=len, reverse=True))
    + r")\b", re.IGNORECASE,
)  # fmt: skip
"""Every keyword in a text."""
_BEFORE = re.compile(r"[\w.]*$")
_NAMED = re.compile(rf"\b((?:{'|'.join(LAYERS)})\.\w+|\w+)\b", re.IGNORECASE)
_PLAIN = re.compile(r"[^\W\d]\w*")
_TABLE_NEXT = re.compile(r"\b(from|join|describe|table)\s+[\w.]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Vocabulary:
    """Names that a statement may use: table or view → its columns, where they are known."""

    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def written(text: str, column: int) -> str:
    """The part of a word, with its dots, that ends at a column of a line."""
    found = _BEFORE.search(text[:column])
    return found[0] if found else ""


def spelled(name: str) -> str:
    """A table's or a view's name as a statement has it: in quotes where it is no plain word."""
    layer, dot, table = name.partition(".")
    return f"{layer}.{_quoted(table)}" if dot else _quoted(name)


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else identifier(name)


def _spelled(named: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    return {spelled(name): tuple(map(_quoted, columns)) for name, columns in named.items()}


def complete(statement: str, before: str, words: Vocabulary, most: int = 50) -> list[str]:
    """Candidates for the word that ends ``before``, which is the statement up to the cursor.

    Where a table is due, tables and views; elsewhere columns of the tables that the statement
    names, then all else; while it names none, as before its FROM, columns of all. What is
    written already is no candidate.
    """
    part = written(before, len(before)).lower()
    words = Vocabulary(_spelled(words.tables), _spelled(words.views))
    named = {name.lower() for name in _NAMED.findall(statement)}
    known = {**words.tables, **words.views}
    columns = [c for name in known if name.lower() in named for c in known[name]]
    if _TABLE_NEXT.search(before) or "." in part:
        pool: Iterable[str] = [*words.tables, *words.views]
        if "." in part and part.partition(".")[0] not in LAYERS:  # an alias and a column
            head = part.rpartition(".")[0]
            pool = [f"{head}.{column}" for column in columns]
    elif not part:
        pool = columns
    else:
        others = [] if columns else [c for name in known for c in known[name]]
        pool = [*columns, *words.tables, *words.views, *KEYWORDS, *others, *FUNCTIONS]
    starts, inside = [], []
    for name in dict.fromkeys(pool):
        plain = name.lower().replace('"', "")
        if plain.startswith(part):
            starts.append(name)
        elif len(part) > 1 and part in plain:
            inside.append(name)
    return [name for name in [*starts, *inside] if name.lower() != part][:most]
