"""Bronze's rows in a Kafka topic, each once: a transaction an increment, its version in it.

Worked example. The topic has version 7 of bronze, and 8 has 300 rows.

- Before: the last marker says 7. The 300 rows are sent in a Kafka transaction.
- The marker 8 is sent in it, and it is committed. Crash before that: the next start's
  ``init_transactions`` aborts it, no reader of committed records ever sees it, the marker is 7.
- Crash after it, or no answer to the commit: the next start reads what became of it: 8, or 7.

The transactional id is bronze's table and the flow: a second writer fences the first, which
ends with a clear error. Where the versions between cannot be read (bronze went back, rows were
erased or marked again, the markers are lost), or the topic was recreated, the topic's own
addresses are read, and only rows that it lacks are sent: what it has cannot be taken back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import duckdb
import structlog
from confluent_kafka import KafkaException

from lakehouse.core.errors import LakehouseError, TableDamaged
from lakehouse.model.sink import KafkaSink
from lakehouse.settings.kafka_client import ensure_compacted, ensure_topic
from lakehouse.settings.settings import Settings
from lakehouse.silver.handed import Handed, Piece
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
from lakehouse.sinks.kafka_rows import Rendering, Rows
from lakehouse.sinks.transactions import Transactions
from lakehouse.sinks.versions import Versions
from lakehouse.storage.follower import NOTHING, Applied, Follower, version_of
from lakehouse.storage.increments import Increment

PART = "topic"
_MOST_ROWS = 20_000
_LOOK = 10.0
"""Seconds between two looks at whether the topic is still the one that the markers tell of."""
_GROWTH = 7
"""A value as JSON again is at most so many times as long: each byte may be escaped."""
log = structlog.get_logger("lakehouse")


class KafkaWriter(Follower):
    """The enriched topic of one product; used by one thread."""

    def __init__(
        self,
        sink: KafkaSink,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        handed: Handed | None = None,
    ) -> None:
        super().__init__(sink.name, sink.product, settings, _MOST_ROWS)
        self._sink, self._duck, self._handed = sink, connection, handed or Handed()
        self.topic = topic_of(sink, settings)
        root = settings.lake.root
        self._tables = {view: Versions(root, table) for view, table in sink.states.items()}
        self._rows = Rendering(sink)
        self._kafka = Transactions(settings.kafka, self.topic, sink.name)
        self._topic_id, self._is_anew = "", False
        self._looked = 0.0
        self._left: tuple[Applied | None, ...] = ()
        """What this process may have left as the last marker; empty before it has sent."""
        self.sent = 0
        """Records since it was made."""
        self.applied = {PART: None}

    def catch_up(self, upto: int | None = None) -> int:
        """As every follower; ServiceAway where the broker does not answer.

        TableMissing while bronze, or a table that rows are joined with, does not exist.
        """
        try:
            if not self._kafka.is_open:
                self._open()
            elif time.monotonic() - self._looked > _LOOK:
                self._look_again()
            if upto is None and not self._is_anew and self._send_handed():
                return self.version
            target = self._reached() if upto is None else upto
            if target is not None and target <= self.version and not self._is_anew:
                return self.version
            return super().catch_up(target)
        except KafkaException as error:
            raise self._kafka.told(error.args[0]) from error
        except BaseException:
            self.close()
            raise

    def _send_handed(self) -> bool:
        """Send what this process has folded since the topic's version; whether that was all.

        The folds read bronze: its log is not looked at again, but for the increments.
        """
        pieces = self._handed_pieces()
        left = [piece.applied.version for piece in pieces.values()]
        target = min([*left, *self._applied(self._tables.keys() - pieces.keys())], default=NOTHING)
        if not pieces or target <= self.version:
            return False
        try:
            for step in self.steps(self.version, target):
                self._send_step(step, {**self._tables, **pieces})
                self.may_go_on(step)
        except (FileNotFoundError, TableDamaged) as error:
            log.debug("silver's tables are waited for", flow=self.name, reason=str(error))
            return False
        return True

    def _handed_pieces(self) -> dict[str, Piece]:
        """What folds left of each table that is wanted, after the topic's version; or nothing."""
        held, pieces = self.applied[PART], {}
        if held is not None and held.bronze == self.bronze_id:
            for view in self._sink.touched:
                if piece := self._handed.after(self._sink.states[view], held, self.name):
                    pieces[view] = piece
        return pieces if len(pieces) == len(self._sink.touched) else {}

    def _applied(self, views: Iterable[str]) -> list[int]:
        """The versions of bronze that joined tables have applied."""
        return [version_of(self._tables[view].newest().applied) for view in views]

    def _reached(self) -> int | None:
        """The version of bronze that every joined table has applied; None: bronze's newest."""
        return min(self._applied(self._tables), default=None)

    def _open(self) -> None:
        """Fence other writers, end what they left open, and read how far the topic is."""
        self.open_bronze()
        self._topic_id = self._look()
        if self._left and self._marked() not in self._left:
            raise self._kafka.fenced()
        identity = f"lakehouse-{self.bronze_id}-{self.name}"
        self._kafka.open(identity, self._most_mb * 2**20)
        self.applied = {PART: self._marked()}

    def _look_again(self) -> None:
        former, self._topic_id = self._topic_id, self._look()
        self._is_anew |= self._topic_id != former

    @property
    def _most_mb(self) -> int:
        return min(_GROWTH * self.settings.product(self._sink.product).max_message_mb, 95)

    def _look(self) -> str:
        """The topic's id now; it and the topic of its markers are made where they are missing."""
        kafka, product = self.settings.kafka, self.settings.product(self._sink.product)
        mine = product.model_copy(update={"topic": self.topic, "max_message_mb": self._most_mb})
        found = ensure_topic(kafka, mine)
        ensure_compacted(kafka, marker_topic(self.topic), product.replication_factor)
        self._looked = time.monotonic()
        return found

    def _marked(self) -> Applied | None:
        """The version of bronze that the last marker says, which may be of a former topic."""
        if (found := last_marker(self.settings.kafka, self.topic, self.name)) is None:
            return None
        self._is_anew = found.topic_id not in {"", self._topic_id}
        return found.applied

    def changed(self) -> str:
        """As every follower; a topic that was recreated has nothing of what its markers say."""
        return f"topic {self.topic} was recreated" if self._is_anew else ""

    def has_rows(self) -> bool:
        """Whether the topic has any record, or had one."""
        return bool(expired(self.settings.kafka, self.topic)) or any(
            rows.num_rows for rows in held(self.settings.kafka, self.topic)
        )

    def apply(self, step: Increment) -> None:
        """Send an increment's rows and its marker in one transaction."""
        self._send_step(step, self._tables)

    def _send_step(self, step: Increment, states: Mapping[str, Versions | Piece]) -> None:
        applied = self.at(step.version)
        with self._duck.cursor() as own:
            self._send(self._rows.of(states, own, step), applied)

    def refill(self) -> int:
        """Send what the topic lacks of all of bronze; how many records that were."""
        before, target = self.sent, self.catch_up()
        if (reached := self._reached()) is not None and reached < target:
            raise LakehouseError(
                self.name, f"silver has applied version {reached} of bronze, the topic {target}",
                f"run {self._sink.product}.silver first: rows are sent with what it says of them",
            )  # fmt: skip
        try:
            self.start_anew(target)
        except KafkaException as error:
            raise self._kafka.told(error.args[0]) from error
        return self.sent - before

    def start_anew(self, target: int) -> None:
        """Send what the topic lacks of all of bronze, a part at a time; the last has the marker.

        Cut short, it is begun again, and finds in the topic what it had sent.
        """
        if self._left:  # what it sent last is read only once its transaction is ended
            self.close()
            self._open()
        with self._duck.cursor() as own:
            self._read_topic(own)
            since = self._since()
            for step in self.whole(target):
                which = f"{_LACKING} {since}"
                lacking = self._rows.of(self._tables, own, step, which)
                self._send(lacking, self.at(target), is_whole=step.is_last)
                if self.stop.is_set() and not step.is_last:
                    self.may_go_on(step)

    def _since(self) -> str:
        """Which of bronze's rows the topic can lack: others may have been sent, and be gone."""
        gone, applied = expired(self.settings.kafka, self.topic), self.applied[PART]
        if not gone or (applied and applied.bronze != self.bronze_id):
            return ""
        if applied is None:
            raise LakehouseError(
                self._kafka.place, "has lost records by retention, and its markers are not there: "
                "nobody can tell which rows it had",
                f"name another topic for {self.name}",
            )  # fmt: skip
        return f"WHERE ingest_time > {gone_until(gone, applied)}"

    def _read_topic(self, own: duckdb.DuckDBPyConnection) -> None:
        """Make the table ``sent``: where the rows that the topic has came from, and when."""
        own.execute(_SENT)
        for rows in held(self.settings.kafka, self.topic):
            own.register("batch", rows)
            own.execute(_ALSO_SENT)
        others = own.execute(
            "SELECT count(*) FROM sent WHERE NOT starts_with(header, ?)", [f"{self.bronze_id}/"]
        ).fetchall()
        if others != [(0,)]:
            raise LakehouseError(
                f"topic {self.topic}", f"has {others[0][0]:,} records that this lake did not send",
                f"name another topic for {self.name}, or remove this one",
            )  # fmt: skip

    def _send(
        self,
        rows: Iterable[Rows],
        applied: Applied,
        *,
        is_whole: bool = True,
    ) -> None:
        """One transaction: the rows, and, where they are all, how far the topic is with them."""
        header = [(HEADER, f"{self.bronze_id}/{applied.version}".encode())]
        self._kafka.begin()
        for keys, values in rows:
            self._kafka.hand_all(self.topic, zip(keys, values, strict=True), header)
            self.sent += len(keys)
        if is_whole:
            last = Marker(applied, self._topic_id)
            self._kafka.hand(marker_topic(self.topic), self.name, last.value())
        self._kafka.flush()
        self._left = (self.applied[PART], applied)
        self._kafka.commit()
        if is_whole:
            self.applied, self._is_anew = {PART: applied}, False

    def close(self) -> None:
        """Let go of the topic; a transaction that is open is aborted by the next writer."""
        self._kafka.close()

    def maintain(self) -> None:
        """Nothing: Kafka cares for its topics."""

    def persist(self) -> None:
        """Nothing: what is sent is committed."""


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
