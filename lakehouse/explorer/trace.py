"""From a row to its events, their commits, and the bytes that a table keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lakehouse.explorer.arranged import inner
from lakehouse.explorer.fetched import fetched
from lakehouse.explorer.origin import Origin, origin
from lakehouse.explorer.record import Commit, commit_of, hexdump, raw
from lakehouse.explorer.session import Session
from lakehouse.explorer.sql import Answer

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
    kept, told = _bytes(session, answer.rows)
    return Trace(found, answer, tuple(c for c in commits if c), kept, told)


def events(session: Session, found: Origin, limit: int) -> Answer:
    """The events themselves: the newest, and how many more there are."""
    rows = session.ask(f"{found.sql} LIMIT {limit}").rows
    if rows.num_rows < limit:
        return Answer(rows, 0)
    count = session.ask(f"SELECT count(*) AS n FROM {inner(found.sql)}").rows
    return Answer(rows, count["n"][0].as_py() - rows.num_rows)


def _bytes(session: Session, rows: pa.Table) -> tuple[dict[str, list[str]], str]:
    """Of a single record: its bytes as the table has them, else as Kafka does."""
    if rows.num_rows != 1:
        return {}, ""
    [row] = rows.to_pylist()
    kept, told = raw(row), "as quarantine keeps them"
    if not kept:
        found = fetched(session.kafka(), row)
        kept, told = dict(found.raw), found.told
    return {name: [*hexdump(data)] for name, data in kept.items()}, told
