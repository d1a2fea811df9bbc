"""The one place where a name or a value becomes part of SQL: what comes from data only by these.

Names and values of a stranger's table can hold anything, quotes too. A value is a
parameter where the statement takes one; where it does not (a path, a predicate of
delta-rs) it is :func:`text`.
"""

from __future__ import annotations

from collections.abc import Iterable


def identifier(name: str) -> str:
    """A name as SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Names as a select-list."""
    return ", ".join(map(identifier, names))


def text(value: str) -> str:
    """A value as SQL text, whatever it holds."""
    return "'" + value.replace("'", "''") + "'"


def texts(values: Iterable[str]) -> str:
    """Values as a list of SQL texts."""
    return ", ".join(map(text, values))


def ten_thousandths(money: str) -> str:
    """SQL: an amount at scale 4 as a whole number of its last place.

    In parts, because ``money * 10000`` has no room above 10^30 in DuckDB.
    """
    return f"(CAST(trunc({money}) AS HUGEINT) * 10000 + CAST({money} % 1 * 10000 AS HUGEINT))"
