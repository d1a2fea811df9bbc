"""Back from a row of a table for which events were multiplied: a copy for each grain, say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lakehouse.core.sql import identifier, text
from lakehouse.explorer.matched import PLACE, equal, literal
from lakehouse.model.flow import Aggregate

_CONSTANTS = re.compile(r"\s*CROSS JOIN \(VALUES [\s\d.,()]*\) AS \w+\(([\w, ]+)\)")
_TEXT = re.compile(r"'[^']*'")
_PERIOD = re.compile(r"date_trunc\((\w+|'\w+'), (\w+)\)")
_UNITS = ("hour", "day", "week", "month")
_NESTED = ("hour", "day")
"""Of these a whole number makes each longer unit."""
_RAW = "of the event: "


def exploded(
    bronze: str, aggregate: Aggregate, known: Mapping[str, Any], matched: Sequence[str]
) -> str:
    """The events behind a row with these keys, after FROM; ``matched`` are conditions of all."""
    added = _added(aggregate.explode)
    if added and all(c in known and aggregate.keys.get(c, ("",))[0] == c for c in added):
        return _of_one_copy(bronze, aggregate, known, added)
    return _of_any_copy(bronze, aggregate, matched)


def _added(explode: str) -> list[str]:
    """Columns that a join with constants adds; none where it joins something else too."""
    left, names = _TEXT.sub("0", explode), list[str]()
    while found := _CONSTANTS.match(left):
        names += found[1].split(", ")
        left = left[found.end() :]
    return [] if left.strip() else names


def _of_one_copy(
    bronze: str, aggregate: Aggregate, known: Mapping[str, Any], added: Sequence[str]
) -> str:
    """The row tells which copy of an event it has: no event is copied, none looked for twice."""
    sliced, given = aggregate.slice or {}, {name: literal(known[name]) for name in added}
    columns = [f"{sql} AS {name}" for name, sql in [*sliced.items(), *given.items()]]
    within, keys = ["NOT is_duplicate", f"({aggregate.where})"], dict(aggregate.keys)
    for name in known:
        sql, told = aggregate.keys[name][0], literal(known[name])
        if condition := _in_period(sql, known[name], sliced, known):
            within.append(condition)
            keys = {n: (other.replace(sql, told), kind) for n, (other, kind) in keys.items()}
    matched = [equal(f"CAST({keys[n][0]} AS {keys[n][1]})", v) for n, v in known.items()]
    same = " AND ".join(equal(name, known[name]) for name in added)
    inner = (
        f"SELECT COLUMNS('(.*)') AS '{_RAW}\\1', {', '.join(columns)} "
        f"FROM {bronze} AS rows WHERE {' AND '.join(within)}"
    )
    return (
        f"(SELECT COLUMNS('{_RAW}(.*)') AS '\\1' FROM ({inner}) WHERE {' AND '.join(matched)} "
        f"AND EXISTS (FROM (SELECT 1) {aggregate.explode} WHERE {same}))"
    )


def _in_period(
    sql: str, value: Any, sliced: Mapping[str, str], known: Mapping[str, Any]
) -> str | None:
    """``date_trunc(unit, time) = value`` as bounds of bronze's own column, which skip whole files.

    None where the key is no such period, or where the slice's time does not lie within it.
    """
    found = _PERIOD.fullmatch(sql)
    if found is None or not isinstance(value, datetime):
        return None
    unit, column = str(known.get(found[1], found[1].strip("'"))), found[2]
    told = _PERIOD.fullmatch(sliced.get(column, ""))
    step = told[1].strip("'") if told and told[2] == column else ""
    is_within = step in _NESTED and unit in _UNITS and _UNITS.index(step) <= _UNITS.index(unit)
    if not is_within:
        return None
    start, time = literal(value), f"rows.{identifier(column)}"
    return (
        f"{time} >= {start} AND {time} < {start} + INTERVAL 1 {unit} "
        f"AND date_trunc({text(unit)}, {start}) = {start}"
    )


def _of_any_copy(bronze: str, aggregate: Aggregate, matched: Sequence[str]) -> str:
    """The addresses of those that have a copy which matches."""
    columns = "".join(f"{sql} AS {name}, " for name, sql in (aggregate.slice or {}).items())
    inner = (
        f"SELECT {columns or '*, '}topic AS at_topic, "
        '"partition" AS at_partition, "offset" AS at_offset, batch_id AS at_batch '
        f"FROM {bronze} AS rows WHERE NOT is_duplicate AND ({aggregate.where})"
    )
    where = " AND ".join(matched) or "true"
    found = (
        'SELECT DISTINCT at_topic AS topic, at_partition AS "partition", at_offset AS "offset", '
        f"at_batch AS batch_id FROM ({inner}) {aggregate.explode} WHERE {where}"
    )
    return f"{bronze} SEMI JOIN ({found}) AS found USING ({PLACE})"
