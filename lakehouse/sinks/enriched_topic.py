"""The topic that a sink fills, as Kafka has it: its id, its last marker, what it still holds.

Who opens it fences every other writer, and ends the transaction that a crash left open. A
transaction has rows and, with the last of them, the marker of bronze's version: both or neither.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.core.errors import LakehouseError
from lakehouse.model.sink import KafkaSink
from lakehouse.settings.kafka_client import ensure_compacted, ensure_topic
from lakehouse.settings.settings import Settings
from lakehouse.sinks.kafka_records import (
    HEADER,
    Marker,
    expired,
    gone_until,
    held,
    last_marker,
    marker_topic,
    topic_of,
)
from lakehouse.sinks.kafka_rows import Rows
from lakehouse.sinks.transactions import Transactions
from lakehouse.storage.follower import Applied

_LOOK = 10.0
"""Seconds between two looks at whether the topic is still the one that the markers tell of."""
_GROWTH = 7
"""A value as JSON again is at most so many times as long: each byte may be escaped."""


class EnrichedTopic:
    """One enriched topic and the topic of its markers; used by one thread."""

    def __init__(self, sink: KafkaSink, settings: Settings) -> None:
        self._sink, self._settings, self._kafka = sink, settings, settings.kafka
        self.name = topic_of(sink, settings)
        self.transactions = Transactions(self._kafka, self.name, sink.name)
        self.applied: Applied | None = None
        """The version of bronze that the topic has, by its last marker."""
        self.was_recreated = False
        """Whether the marker tells of a former topic of this name."""
        self.sent = 0
        """Records since it was made."""
        self._id, self._looked = "", 0.0
        self._left: tuple[Applied | None, ...] = ()
        """What this process may have left as the last marker; empty before it has sent."""

    @property
    def has_sent(self) -> bool:
        """Whether this process has, so that its last transaction may not have ended."""
        return bool(self._left)

    def open(self, bronze_id: str) -> None:
        """Fence other writers, end what they left open, and read how far the topic is.

        Those of other lakes are fenced, too; but nobody is where the topic has their records.
        """
        self._id = self._make()
        found = self._marked()
        if self._left and found not in self._left:
            raise self.transactions.fenced()
        if found is not None and found.bronze != bronze_id:
            self._refuse(sum(_others(rows, bronze_id) for rows in held(self._kafka, self.name)))
        identity = f"lakehouse-{self.name}-{self._sink.name}"
        self.transactions.open(identity, self._most_mb * 2**20)
        self.applied = self._marked()

    def _refuse(self, others: int) -> None:
        """LakehouseError where the topic has records of others."""
        if others:
            raise LakehouseError(
                f"topic {self.name}", f"has {others:,} records that this lake did not send",
                f"name another topic for {self._sink.name}, or remove this one",
            )  # fmt: skip

    def look_again(self) -> None:
        """Now and then: whether the topic was recreated meanwhile."""
        if time.monotonic() - self._looked > _LOOK:
            former, self._id = self._id, self._make()
            self.was_recreated |= self._id != former

    @property
    def _most_mb(self) -> int:
        return min(_GROWTH * self._settings.product(self._sink.product).max_message_mb, 95)

    def _make(self) -> str:
        """The topic's id; it and the topic of its markers are made where they are missing."""
        product = self._settings.product(self._sink.product)
        mine = product.model_copy(update={"topic": self.name, "max_message_mb": self._most_mb})
        found = ensure_topic(self._kafka, mine)
        ensure_compacted(self._kafka, marker_topic(self.name), product.replication_factor)
        self._looked = time.monotonic()
        return found

    def _marked(self) -> Applied | None:
        """The version of bronze that the last marker says, which may be of a former topic."""
        if (found := last_marker(self._kafka, self.name, self._sink.name)) is None:
            return None
        self.was_recreated = found.topic_id not in {"", self._id}
        return found.applied

    def has_rows(self) -> bool:
        """Whether the topic has any record, or had one."""
        return bool(expired(self._kafka, self.name)) or any(
            rows.num_rows for rows in held(self._kafka, self.name)
        )

    def lacking(self, own: duckdb.DuckDBPyConnection, bronze_id: str) -> str:
        """SQL that follows bronze's rows, and leaves those that the topic lacks.

        It makes the table ``sent`` in the connection. LakehouseError where the topic has
        records of others, or nobody can tell what it had.
        """
        own.execute(_SENT)
        others = 0
        for rows in held(self._kafka, self.name):
            others += _others(rows, bronze_id)
            own.register("batch", rows)
            own.execute(_ALSO_SENT)
        self._refuse(others)
        return f"{_LACKING} {self._since(bronze_id)}"

    def _since(self, bronze_id: str) -> str:
        """Which of bronze's rows the topic can lack: others may have been sent, and be gone."""
        gone, applied = expired(self._kafka, self.name), self.applied
        if not gone or (applied and applied.bronze != bronze_id):
            return ""
        if applied is None:
            raise LakehouseError(
                self.transactions.place, "has lost records by retention, and its markers are not "
                "there: nobody can tell which rows it had",
                f"name another topic for {self._sink.name}",
            )  # fmt: skip
        return f"WHERE ingest_time > {gone_until(gone, applied)}"

    def send(self, rows: Iterable[Rows], applied: Applied, *, is_whole: bool = True) -> None:
        """One transaction: the rows, and, where they are all, how far the topic is with them."""
        header = [(HEADER, f"{applied.bronze}/{applied.version}".encode())]
        kafka = self.transactions
        kafka.begin()
        for keys, values in rows:
            kafka.hand_all(self.name, zip(keys, values, strict=True), header)
            self.sent += len(keys)
        if is_whole:
            last = Marker(applied, self._id)
            kafka.hand(marker_topic(self.name), self._sink.name, last.value())
        kafka.flush()
        self._left = (self.applied, applied)
        kafka.commit()
        if is_whole:
            self.applied, self.was_recreated = applied, False


def _others(rows: pa.Table, bronze_id: str) -> int:
    """How many records this lake did not send."""
    mine = pc.sum(pc.starts_with(rows["header"], f"{bronze_id}/")).as_py() or 0
    return int(rows.num_rows - mine)


_SENT = (
    "CREATE OR REPLACE TEMP TABLE sent (header VARCHAR, topic VARCHAR, "
    '"partition" INTEGER, "offset" BIGINT, part INTEGER, processing_time TIMESTAMPTZ)'
)
_ALSO_SENT = (
    "INSERT INTO sent SELECT header, value ->> 'topic', "
    "TRY_CAST(value ->> 'partition' AS INTEGER), TRY_CAST(value ->> 'offset' AS BIGINT), "
    "\"partition\", TRY_CAST(value ->> 'processing_time' AS TIMESTAMPTZ) "
    "FROM (SELECT header, \"partition\", if(json_valid(value), value, '{}') AS value FROM batch)"
)
_LACKING = 'ANTI JOIN sent USING (topic, "partition", "offset")'
