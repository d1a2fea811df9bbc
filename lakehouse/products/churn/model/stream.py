"""The scorer of a topic: each record of a customer has one outcome, whatever is killed.

Predictions, dead letters and the offsets of the records that they are of are one Kafka
transaction, so a reader of committed records finds an outcome exactly where a group has read.

Worked example. The group has read up to 100, and 300 records came.

- Before: the outcomes up to 99 are committed. Those of 100 to 399 are sent.
- Crash here, or before the commit is answered: the next scorer fences this one, and ends what it
  left open; then the group says 400, and the outcomes are there, or it says 100, and none is.
- A group's offset says which topic it is of: one that was made anew is scored from its beginning.

One process scores a topic: a second one takes it over, and the first ends in words.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from lakehouse.core.errors import LakehouseError, ServiceAway, TableMissing
from lakehouse.core.patience import Patience
from lakehouse.core.signals import Stop
from lakehouse.ingest.reader.records import as_rows, by_partition
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.churn.model.current import LOOK, Current
from lakehouse.products.churn.model.outcomes import (
    NAMED,
    Outcomes,
    Scored,
    outcomes_of,
    value_of,
)
from lakehouse.products.churn.model.scoring import Scorer
from lakehouse.products.churn.model.span import LIVE, Span
from lakehouse.products.churn.model.store import Models
from lakehouse.products.churn.settings import churn_of, predictions_of
from lakehouse.settings.kafka_client import ensure_topic, reader_options, unreachable
from lakehouse.settings.settings import Settings
from lakehouse.sinks.transactions import Transactions

_AT_ONCE, _REPORT = 5_000, 10.0
_MIB = 2**20
_EXPIRED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
log = structlog.get_logger("lakehouse")


class ScoringService:
    """Scores the topic of customers until a stop, or until nothing is left."""

    def __init__(
        self, settings: Settings, stop: Stop, span: Span = LIVE, *, available_now: bool = False
    ) -> None:
        self._settings, self._stop, self._span = settings, stop, span
        self._until_end = available_now or not span.is_live
        self._churn, self._predictions = churn_of(settings), predictions_of(settings)
        self._rules = TimeRules(self._churn.earliest_time, self._churn.future_tolerance)
        self._current = Current(Models(settings.lake.root), span.model)
        self._kafka = Transactions(settings.kafka, self._predictions.topic, span.group)
        self._consumer: Any = None
        self._topic_id = ""
        self._left: set[int] = set()
        """Partitions whose end has not been seen yet."""
        self._ends: dict[int, int] = {}
        """Of a span, where each partition ends."""
        self._lost = ""
        self._reported = time.monotonic()
        self.scored = Scored()

    def run(self) -> Scored:
        """Score; ServiceAway where Kafka stays away for longer than ``[services] patience``."""
        try:
            if self._has_model():
                self._run()
        finally:
            self._close()
        return self.scored

    def _has_model(self) -> bool:
        """Wait until a version is promoted; False where a stop comes first."""
        is_told = False
        while not self._stop.is_set():
            try:
                self._current.scorer()
            except TableMissing as missing:
                if self._until_end:
                    raise
                if not is_told:
                    log.warning("waiting", place=missing.place, reason=missing.fault,
                                fix=missing.remedy)  # fmt: skip
                is_told = True
                self._stop.wait(LOOK)
            else:
                return True
        return False

    def _run(self) -> None:
        patience = Patience(self._settings.services.patience, self._stop)
        while not self._stop.is_set():
            try:
                if not self._kafka.is_open:
                    self._open()
                self._turn()
                patience.progress()
            except KafkaException as error:
                self._wait(patience, self._told(error.args[0]))
            except ServiceAway as error:
                self._wait(patience, error)
            if self._until_end and self._kafka.is_open and not self._left:
                return

    def _wait(self, patience: Patience, error: LakehouseError) -> None:
        self._close()
        if not isinstance(error, ServiceAway):
            raise error
        patience.again(error)

    def _told(self, error: KafkaError) -> LakehouseError:
        if error.code() in _EXPIRED:  # the next start says how many
            return unreachable(self._settings.kafka, error.str())
        return self._kafka.told(error)

    def _open(self) -> None:
        """Make the topics, fence other scorers, and go on where the group is."""
        kafka, most = self._settings.kafka, self._churn.max_message_mb
        self._topic_id = ensure_topic(kafka, self._churn)
        ensure_topic(kafka, self._predictions)
        letters = {
            "topic": self._churn.deadletter_topic, "partitions": 1, "max_message_mb": most + 1,
        }  # fmt: skip
        ensure_topic(kafka, self._churn.model_copy(update=letters))
        self._kafka.open(f"{self._span.group}-{self._topic_id}", (most + 1) * _MIB, linger_ms=0)
        self._lost = ""
        self._consumer = Consumer(
            {**reader_options(kafka), **_READ, "group.id": self._span.group, "error_cb": self._met}
        )
        begin = self._begin()
        self._ends = self._at(self._span.until, begin) if self._span.until else {}
        begin = [p for p in begin if p.offset < self._ends.get(p.partition, p.offset + 1)]
        self._left = {place.partition for place in begin}
        self._consumer.assign(begin)

    def _begin(self) -> list[TopicPartition]:
        """Where each partition is read from: never twice, and what is gone is said."""
        wait = self._settings.kafka.request_timeout.total_seconds()
        topic = self._churn.topic
        known = self._consumer.list_topics(topic, timeout=wait).topics[topic].partitions
        asked = [TopicPartition(topic, number) for number in sorted(known)]
        first = self._at(self._span.since, asked) if self._span.since else {}
        found = []
        for place in self._consumer.committed(asked, timeout=wait):
            low, high = self._consumer.get_watermark_offsets(place, timeout=wait)
            is_known = place.offset >= 0 and place.metadata in {None, self._topic_id}
            offset = min(place.offset, high) if is_known else first.get(place.partition, low)
            if offset < low:
                log.error("records are gone that were not scored", topic=topic,
                          partition=place.partition, records=low - offset)  # fmt: skip
            found.append(TopicPartition(topic, place.partition, max(low, offset)))
        return found

    def _at(self, time: datetime, places: Sequence[TopicPartition]) -> dict[int, int]:
        """Of each partition the first offset from a Kafka time on; its end where there is none."""
        ms = math.ceil(time.timestamp() * 1000)
        wait = self._settings.kafka.request_timeout.total_seconds()
        asked = [TopicPartition(place.topic, place.partition, ms) for place in places]
        return {
            place.partition: place.offset
            if place.offset >= 0
            else self._consumer.get_watermark_offsets(place, timeout=wait)[1]
            for place in self._consumer.offsets_for_times(asked, timeout=wait)
        }

    def _met(self, error: KafkaError) -> None:
        """What the client says of itself: of a broker that is away, it says nothing else."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._lost = error.str()

    def _turn(self) -> None:
        """Score what has come; waits a moment where nothing has."""
        scorer = self._current.scorer()
        messages = self._read()
        if self._lost:
            raise unreachable(self._settings.kafka, self._lost)
        if not messages:
            return
        parts = by_partition(messages)
        limit = self._settings.bronze.max_record_mb * _MIB
        topic = self._churn.topic
        rows = [as_rows(topic, n, part, _no_headers, limit) for n, part in parts.items()]
        outcomes = outcomes_of(pa.concat_batches(rows), scorer, self._rules, datetime.now(UTC))
        self._commit(outcomes, {n: int(part[-1].offset() or 0) + 1 for n, part in parts.items()})
        self.scored.add(outcomes)
        self._report(scorer)

    def _read(self) -> list[Message]:
        first = self._consumer.poll(0.1)
        if first is None:
            return []
        found = []
        for one in (first, *self._consumer.consume(_AT_ONCE - 1, 0)):
            error = one.error()
            if error is None:
                if one.offset() < self._ends.get(one.partition(), one.offset() + 1):
                    found.append(one)
                else:
                    self._left.discard(one.partition())
            elif error.code() == KafkaError._PARTITION_EOF:
                self._left.discard(one.partition())
            else:
                raise KafkaException(error)
        return found

    def _commit(self, outcomes: Outcomes, read: dict[int, int]) -> None:
        """One transaction: the outcomes, and how far the group has read with them."""
        topic, place = self._predictions.topic, self._churn.topic
        self._kafka.begin()
        for one in outcomes.predictions:
            self._kafka.hand(topic, one.customerID, value_of(one), NAMED)
        for letter in outcomes.letters if self._span.is_live else ():
            self._kafka.hand(
                self._churn.deadletter_topic, letter.key, letter.value, letter.headers
            )  # fmt: skip
        offsets = [
            TopicPartition(place, number, offset, self._topic_id) for number, offset in read.items()
        ]
        self._kafka.take_offsets(offsets, self._consumer.consumer_group_metadata())
        self._kafka.commit()

    def _report(self, scorer: Scorer) -> None:
        if time.monotonic() - self._reported >= _REPORT:
            self._reported = time.monotonic()
            log.info("scored", predictions=self.scored.predictions,
                     dead_letters=self.scored.dead_letters, model=scorer.card.version)  # fmt: skip

    def _close(self) -> None:
        self._kafka.close()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


_READ = {
    "enable.auto.commit": False,  # no group is joined: offsets are committed in transactions
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "queued.max.messages.kbytes": 64 * 1024,
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 100,
    "log_level": 0,  # what fails is told in our words
}


def _no_headers(_partition: int, offsets: Sequence[int]) -> Sequence[None]:
    """A header whose name is not UTF-8 cannot be sent on; quarantine has it."""
    return [None] * len(offsets)
