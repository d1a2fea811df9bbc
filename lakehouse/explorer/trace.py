"""From a row to its events, their commits, and the bytes that a table keeps of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import Any

import pyarrow as pa

from lakehouse.core.errors import TableMissing
from lakehouse.explorer.fetched import fetched
from lakehouse.explorer.keys import key_columns
from lakehouse.explorer.origin import Origin, origin, origin_of
from lakehouse.explorer.record import Commit, commit_of, hexdump, raw
from lakehouse.explorer.session import Session
from lakehouse.explorer.sql import Answer
from lakehouse.explorer.unshown import unshown

_COMMITS = 20
"""So many commits are looked up of a row's events."""


@dataclass(frozen=True)
class Trace:
    """The events of a row, newest first; the commits of those shown; bytes of a single record."""

    origin: Origin
    events: Answer
    commits: tuple[Commit, ...]
    raw: Mapping[str, list[str]]
    """``key`` and ``value`` as lines of a hexadecimal dump."""
    bytes_told: str
    """Where the bytes are from, or why there are none; empty of more than one record."""


def trace(session: Session, table: str, row: Mapping[str, Any], limit: int) -> Trace | None:
    """What a row was made from; None where nobody declares it."""
    found = origin(table, row)
    if found is None:
        return None
    answer = events(session, found, limit)
    batches = dict.fromkeys(answer.rows["batch_id"].to_pylist())
    commits = (commit_of(session.catalogue, found.bronze, b) for b in [*batches][:_COMMITS])
    kept, told = _bytes(session, found, answer.rows)
    return Trace(found, answer, tuple(c for c in commits if c), kept, told)


def origin_asked(session: Session, statement: str, row: Mapping[str, Any]) -> Origin | None:
    """The origin of a row of any SELECT, by all keys that its own table has for it."""
    found = origin_of(statement, row, session.views)
    if found is None:
        return None
    more = unshown(session, statement, row, key_columns(found.table))
    return origin(found.table, {**row, **more}) if more else found


def events(session: Session, found: Origin, limit: int) -> Answer:
    """The events themselves: the newest, and how many more there are."""
    *_, whole = arriving(session, found, limit)
    return whole


def arriving(session: Session, found: Origin, limit: int, first: int = 0) -> Iterator[Answer]:
    """As :func:`events`; before that the ``first`` newest, where those are there sooner.

    They are counted by date to begin with, from a few columns, so that all columns are read of
    those dates alone that have the newest.
    """
    if found.is_record:
        yield session.ask(found.sql, limit)
        return
    told = session.ask(found.by_date).rows
    days: list[tuple[date, int]] = [*zip(*told.to_pydict().values(), strict=True)]
    reached = [0, *accumulate(n for _, n in days)]
    parts = {_needed(days, reached, most): most for most in (first, limit)}
    for needed, most in parts.items():
        if most:
            asked = found.of_dates(needed) if needed else found.sql
            rows = session.ask(f"{asked} LIMIT {most}").rows
            yield Answer(rows, max(0, reached[-1] - rows.num_rows))


def _needed(
    days: Sequence[tuple[date, int]], reached: Sequence[int], most: int
) -> tuple[date, ...]:
    """The dates, newest first, that have so many events."""
    return tuple(day for (day, _), before in zip(days, reached, strict=False) if before < most)


def _bytes(session: Session, found: Origin, rows: pa.Table) -> tuple[dict[str, list[str]], str]:
    """Of a single record: its bytes as the table has them, else as Kafka does."""
    if found.is_record and not rows.num_rows:
        return _of_no_row(session, found)
    if rows.num_rows != 1:
        return {}, ""
    [row] = rows.to_pylist()
    kept, told = raw(row), "as quarantine keeps them"
    if not kept:
        asked = fetched(session.kafka(), row)
        kept, told = dict(asked.raw), asked.told
    return _drawn(kept), told


def _of_no_row(session: Session, found: Origin) -> tuple[dict[str, list[str]], str]:
    """What Kafka has at an address that the table has no row of: one that waits, perhaps."""
    layer, _, name = found.table.partition(".")
    bronze, other = f"bronze.{name}", "quarantine" if layer == "bronze" else "bronze"
    with suppress(TableMissing):
        elsewhere = origin(f"{other}.{name}", found.keys)
        if elsewhere and events(session, elsewhere, 1).rows.num_rows:
            return {}, f"{found.table} has no such record, and {other}.{name} has it"
    ends = session.catalogue.ends(bronze, int(session.catalogue.open(bronze).version()))
    asked = fetched(session.kafka(), {"topic": ends.topic, **found.keys})
    return _drawn(asked.raw), f"no table has such a record; {asked.told}"


def _drawn(kept: Mapping[str, bytes]) -> dict[str, list[str]]:
    return {name: [*hexdump(data)] for name, data in kept.items()}
