"""From a number back to its events: which rows of bronze a row of silver was made from.

The rows are found by the table's own declaration: the same expressions that made its keys are
evaluated over bronze, at the version at hand. Where a row does not tell all keys of its table,
as in a sum over months, the events of all the others are meant.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from lakehouse.core.errors import UsageError
from lakehouse.core.sql import identifier, text
from lakehouse.explorer.catalogue import named_in
from lakehouse.explorer.exploded import exploded
from lakehouse.explorer.keys import (
    ADDRESS,
    Declared,
    FavouriteTable,
    KeyedTable,
    declared,
    key_columns,
    keyed_columns,
    keys_of,
)
from lakehouse.explorer.matched import equal, events, literal, shown
from lakehouse.model.flow import Aggregate, Finer, SilverFlow
from lakehouse.model.window import Session

_TRACED = {"bronze", "quarantine", "silver", "ledger"}
_FIGURE = {"value", "unit", "moment", "change_pct", "since", "upto"}
"""Columns of a figure that are no key of its table."""
_GROUPED = re.compile(r"\bGROUP\s+BY\s+((?:\w+\s*,\s*)*\w+)", re.I)


@dataclass(frozen=True)
class Origin:
    """The events behind a row, and the SELECTs that read them."""

    table: str
    """The table that the row is of, or was computed from."""
    keys: Mapping[str, Any]
    """What of the table's keys the row tells."""
    open_keys: tuple[str, ...]
    """Keys that it does not tell: events of every value of them are meant."""
    bronze: str
    rows: str
    """The events, after FROM."""
    is_record: bool = False
    """Whether the row is a record itself, of bronze or of quarantine."""
    span: str = ""
    """The time that the events are of, as text; empty of any time."""

    @property
    def sql(self) -> str:
        """The events, newest first, with address and columns."""
        return f"SELECT * FROM {self.rows}" if self.is_record else shown(self.rows)

    @property
    def by_date(self) -> str:
        """How many there are of each date, the newest first: a few columns tell it."""
        return f"SELECT event_date, count(*) AS n FROM {self.rows} GROUP BY ALL ORDER BY ALL DESC"

    def of_dates(self, dates: Iterable[date]) -> str:
        """Those of these dates, as :attr:`sql` has them: files of no other are opened."""
        listed = ", ".join(map(literal, dates))
        return shown(f"(SELECT * FROM {self.rows}) WHERE event_date IN ({listed})")

    def told(self) -> str:
        """As text: whose events these are."""
        known = ", ".join(f"{name} = {value}" for name, value in self.keys.items())
        rest = f"; any {', '.join(self.open_keys)}" if self.open_keys else ""
        return f"{self.table}: {known or 'all rows'}{rest}{self.span}"

    def between(self, since: datetime, upto: datetime) -> Origin:
        """The same of events from ``since`` on and before ``upto``."""
        rows = (
            f"(SELECT * FROM {self.rows}) WHERE event_time >= {literal(since)} "
            f"AND event_time < {literal(upto)}"
        )
        return replace(self, rows=rows, span=f"; events from {since} to {upto}")


def origin(table: str, row: Mapping[str, Any], grouped: Collection[str] = ()) -> Origin | None:
    """The origin of a row of one table; None where nobody declares what the table is made from.

    ``grouped`` are names by which a SELECT put rows of the table together: where its columns are
    declared, as in a latest by key, they tell rows too.
    """
    layer, _, name = table.partition(".")
    if layer in {"bronze", "quarantine"}:
        return _of_record(table, row)
    if layer == "ledger" and "batch_id" in row:
        keys = {"batch_id": row["batch_id"]}
        where = f"{equal('batch_id', row['batch_id'])} AND (is_late OR is_duplicate)"
        return Origin(table, keys, (), f"bronze.{name}", events(f"bronze.{name}", where))
    if (found := declared(table)) is None:
        return None
    flow, declaration = found
    known = {name: row[name] for name in keys_of(declaration) if name in row}
    if isinstance(declaration, KeyedTable):
        shared = keyed_columns(declaration)
        known |= {name: row[name] for name in shared if name in grouped and name in row}
    lacking = tuple(name for name in keys_of(declaration) if name not in row)
    if isinstance(declaration, Session) and "session_end" in row:
        known["session_end"] = row["session_end"]
    bronze = f"bronze.{flow.product}"
    return Origin(table, known, lacking, bronze, _rows(flow, declaration, known))


def origin_of(sql: str, row: Mapping[str, Any], views: Mapping[str, str]) -> Origin | None:
    """The origin of a row of any SELECT: by that table of those it names whose keys it tells best.

    A row that tells no key, as a total, is of all events of the first. ``views`` are names that
    it may use as tables, and their SELECTs.
    """
    grouped = {name for part in _GROUPED.findall(sql) for name in re.findall(r"\w+", part)}
    found = [o for table in tables_of(sql, views) if (o := origin(table, row, grouped))]
    return max(found, key=lambda o: (len(o.keys), -len(o.open_keys)), default=None)


def figured(sql: str, row: Mapping[str, Any], views: Mapping[str, str]) -> Origin | None:
    """The origin of a figure: by the keys beside its value, and its time, ``since`` to ``upto``."""
    keys = {name: value for name, value in row.items() if name not in _FIGURE}
    found = origin_of(sql, keys, views)
    if found is None or row.get("since") is None or row.get("upto") is None:
        return found
    return found.between(row["since"], row["upto"])


def tables_of(sql: str, views: Mapping[str, str]) -> list[str]:
    """The lake's tables that a SELECT names, itself or by a view."""
    used = [text for name, text in views.items() if re.search(rf"\b{re.escape(name)}\b", sql, re.I)]
    named = (name.lower() for name in named_in(" ".join([sql, *used])))
    return [*dict.fromkeys(n for n in named if n.partition(".")[0] in _TRACED)]


def row_of(table: str, words: Iterable[str]) -> dict[str, Any]:
    """``column=value`` words as a row's keys; an empty value means null."""
    keys = key_columns(table)
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or (keys and name not in keys):
            known = f"use {', '.join(f'{k}=…' for k in keys)}" if keys else "write column=value"
            raise UsageError(f"{word!r}", f"is no key of {table}", known)
        if name in found:
            raise UsageError(f"{word!r}", f"says {name} a second time", "say it once")
        found[name] = value
    return found


def _of_record(table: str, row: Mapping[str, Any]) -> Origin | None:
    names = [name for name in (*ADDRESS, "batch_id") if name in row]
    if not {"partition", "offset"}.issubset(names):
        return None
    keys = {name: row[name] for name in names}
    where = " AND ".join(equal(identifier(name), row[name]) for name in names)
    return Origin(table, keys, (), table, f"{table} WHERE {where}", is_record=True)


def _rows(flow: SilverFlow, declaration: Declared, known: Mapping[str, Any]) -> str:
    bronze = f"bronze.{flow.product}"
    kinds = (
        {name: kind for name, (_, kind) in declaration.keys.items()}
        if isinstance(declaration, Aggregate)
        else {}
    )
    expressions = keys_of(declaration)
    matched = [
        equal(f"CAST({expressions[n]} AS {kinds[n]})" if n in kinds else f"({expressions[n]})", v)
        for n, v in known.items()
        if expressions.get(n)
    ]
    if isinstance(declaration, Session):
        return events(bronze, _in_session(declaration, known))
    if isinstance(declaration, KeyedTable):
        return _of_keyed(flow, declaration, known, matched)
    if isinstance(declaration, FavouriteTable):
        return events(bronze, *matched, f"({declaration.favourite.where})")
    if isinstance(declaration, Finer):
        return events(bronze, *matched, f"({declaration.where})")
    if flow.keyed and not declaration.of_changes:
        return _by_current(flow, matched)
    sliced = declaration.slice or {}
    as_they_are = all(sliced.get(expressions[name]) == expressions[name] for name in known)
    if as_they_are or not declaration.explode:
        return events(bronze, *matched, f"({declaration.where})")
    return exploded(bronze, declaration, known, matched)


def _of_keyed(
    flow: SilverFlow, table: KeyedTable, known: Mapping[str, Any], matched: list[str]
) -> str:
    """Every change of a key; of rows that have something else in common, the changes with it."""
    keyed = table.keyed
    if keyed.key in known or not known:
        return events(f"bronze.{flow.product}", *matched, f"({keyed.where})")
    if not table.is_history:
        return _by_current(flow, [equal(name, value) for name, value in known.items()])
    value = f"CASE WHEN {keyed.deleted} THEN {text(keyed.gone)} ELSE {{0}} END"
    told = [
        equal(value.format(keyed.columns[name][0]), known[name])
        for name in keyed_columns(table)
        if name in known
    ]
    return events(f"bronze.{flow.product}", *told, f"({keyed.where})")


def _by_current(flow: SilverFlow, matched: list[str]) -> str:
    """Signed rows add up to what ``current`` has: the changes that count are those it shows."""
    keyed = flow.keyed
    assert keyed is not None  # noqa: S101  # the caller has looked
    (key, kind), (order, _) = keyed.columns[keyed.key], keyed.columns[keyed.order]
    where = " AND ".join(matched) or "true"
    now = f"SELECT {keyed.key} AS k, {keyed.order} AS o FROM {flow.table(keyed.current)} AS rows"
    return events(
        f"bronze.{flow.product}", f"({keyed.where})",
        f"(CAST({key} AS {kind}), {order}) IN ({now} WHERE {where})",
    )  # fmt: skip


def _in_session(session: Session, known: Mapping[str, Any]) -> str:
    """The events from the session's start to the next one of the same key."""
    table_where = [f"({session.where})", "NOT is_late"]
    if session.key in known:
        table_where.append(equal(session.key, known[session.key]))
    if start := known.get("session_start"):
        table_where.append(f"{session.time} >= {literal(start)}::TIMESTAMPTZ")
    if end := known.get("session_end"):
        table_where.append(f"{session.time} <= {literal(end)}::TIMESTAMPTZ")
    return " AND ".join(table_where)
