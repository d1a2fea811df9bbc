"""Turns each change of the table into an envelope, and sends it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lakehouse.core import failpoint
from lakehouse.model.change import Change, Op, Source, encode, encode_key, sequence
from producers.cdc.sink import Sink
from producers.cdc.steps import Step
from producers.cdc.table import STAMP, Table

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a change stands in the order of commits, and its origin for the envelope."""

    position: int
    index: int
    ms: int
    """When it was committed, or read: Unix time in milliseconds."""
    xid: int | None = None
    lsn: int | None = None
    snapshot: bool = False


@dataclass
class Events:
    """Writes each change to Kafka as an envelope; the only code that does."""

    sink: Sink
    table: Table
    database: str
    generation: int
    counts: Counter[str] = field(default_factory=Counter)
    """Op, or ``tombstone`` → how many records."""

    def put(self, op: Op, before: Row | None, after: Row | None, where: Place) -> None:
        """Send one change, and the tombstone after a delete."""
        order = sequence(self.generation, where.position, where.index)
        source = Source(
            name=self.sink.product.topic, ts_ms=where.ms,
            snapshot="true" if where.snapshot else "false", db=self.database, sequence=order,
            schema=self.table.schema, table=self.table.name, txId=where.xid, lsn=where.lsn,
        )  # fmt: skip
        change = Change(op=op, before=before, after=after, source=source, ts_ms=now_ms())
        key = encode_key(self.table.key_of(after or before or {}))
        self.sink.send(key, encode(change))
        self.counts[op] += 1
        failpoint.reach(Step.CHANGE_SENT)
        if op == "d":
            self.sink.send(key, None, ("sequence", order.encode()))
            self.counts["tombstone"] += 1

    def delete(self, key: Row, where: Place) -> None:
        """Send the delete of a row whose key alone is known."""
        row = {c.name: key.get(c.name) for c in self.table.columns if c.name != STAMP}
        self.put("d", row, None, where)


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
