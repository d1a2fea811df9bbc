"""Turns each change of the table into an envelope, and sends it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from lakehouse.core import failpoint
from lakehouse.model.change import Change, Op, Oversized, Source, encode, encode_key, sequence
from producers.cdc.server import lsn_text
from producers.cdc.sink import Sink, TooLarge
from producers.cdc.steps import Step
from producers.cdc.table import STAMP, CannotCapture, Table

log = structlog.get_logger()
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
        row = self.table.key_of(after or before or {})
        key = encode_key(row)
        try:
            self.sink.send(key, encode(change))
        except TooLarge as error:
            self._mark_of(change, row, error)
        self.counts[op] += 1
        failpoint.reach(Step.CHANGE_SENT)
        if op == "d":
            self.sink.send(key, None, ("sequence", order.encode()))
            self.counts["tombstone"] += 1

    def _mark_of(self, change: Change, row: Row, error: TooLarge) -> None:
        """Send the mark of a change in its place; of a delete then the key, so that it counts."""
        if self.sink.product.oversized == "stop":
            at = f" at {lsn_text(change.source.lsn)}" if change.source.lsn else ""
            raise CannotCapture(
                self.table.qualified,
                f"the change {change.op!r} of {row}{at} makes a record of {error.size:,} bytes, "
                f"and topic {self.sink.product.topic} takes {error.limit:,}",
                "kafka-configs.sh --bootstrap-server "
                f"{self.sink.settings.kafka.bootstrap_servers} --alter --topic "
                f"{self.sink.product.topic} --add-config max.message.bytes={error.size + 2**20} "
                f"(max_message_mb in the product's section is for topics that we make); or set "
                "oversized = quarantine there: a mark of the change is quarantined, and "
                "the capture goes on",
            )
        key = encode_key(row)
        large = Oversized(bytes=error.size, limit=error.limit, key=row)
        replace = msgspec.structs.replace
        self.sink.send(key, encode(replace(change, before=None, after=None, oversized=large)))
        self.counts["oversized"] += 1
        log.warning("a change is too large for its topic", key=row, op=change.op, size=error.size,
                    limit=error.limit)  # fmt: skip
        if change.op == "d":
            self.sink.send(key, encode(replace(change, before=self._alone(row))))

    def _alone(self, key: Row) -> Row:
        """A row of which the key alone is known."""
        return {c.name: key.get(c.name) for c in self.table.columns if c.name != STAMP}

    def delete(self, key: Row, where: Place) -> None:
        """Send the delete of a row whose key alone is known."""
        self.put("d", self._alone(key), None, where)


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
