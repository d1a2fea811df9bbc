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

import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from lakehouse.products.churn.model.outcomes import NAMED, Outcomes, outcomes_of, value_of
from lakehouse.products.churn.model.scoring import Scorer
from lakehouse.products.churn.model.store import Models
from lakehouse.products.churn.settings import churn_of, predictions_of
from lakehouse.settings.kafka_client import ensure_topic, reader_options, unreachable
from lakehouse.settings.settings import Settings
from lakehouse.sinks.transactions import Transactions

GROUP = "lakehouse-churn-score"
_AT_ONCE, _LOOK, _REPORT = 5_000, 1.0, 10.0
_MIB = 2**20
_EXPIRED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
log = structlog.get_logger("lakehouse")


@dataclass
class Scored:
    """What a scorer did."""

    predictions: int = 0
    dead_letters: int = 0
    transactions: int = 0

    def add(self, outcomes: Outcomes) -> None:
        """Count what is committed."""
        self.predictions += len(outcomes.predictions)
        self.dead_letters += len(outcomes.letters)
        self.transactions += 1


class Current:
    """The promoted version, looked for again from time to time."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._scorer: Scorer | None = None
        self._looked = -_LOOK
        self._refused = ""

    def scorer(self) -> Scorer:
        """The promoted version, or, where that one is refused, the one before; TableMissing."""
        now = time.monotonic()
        if self._scorer is None or now - self._looked >= _LOOK:
            self._looked = now
            self._take(self._models.current())
        assert self._scorer is not None  # noqa: S101  # `_take` raised where there was none
        return self._scorer

    def _take(self, version: str) -> None:
        before = self._scorer.card.version if self._scorer else ""
        if version in {before, self._refused}:
            return
        try:
            self._scorer = self._models.scorer(version)
        except LakehouseError as error:
            if self._scorer is None:
                raise
            self._refused = version
            log.error("the promoted model is refused", version=version, reason=error.fault,
                      fix=error.remedy, scores=before)  # fmt: skip
        else:
            log.info("a model scores", version=version, instead_of=before or None)


class ScoringService:
    """Scores the topic of customers until a stop, or until nothing is left."""

    def __init__(self, settings: Settings, stop: Stop, *, available_now: bool = False) -> None:
        self._settings, self._stop, self._until_end = settings, stop, available_now
        self._churn, self._predictions = churn_of(settings), predictions_of(settings)
        self._rules = TimeRules(self._churn.earliest_time, self._churn.future_tolerance)
        self._current = Current(Models(settings.lake.root))
        self._kafka = Transactions(settings.kafka, self._predictions.topic, GROUP)
        self._consumer: Any = None
        self._topic_id = ""
        self._left: set[int] = set()
        """Partitions whose end has not been seen yet."""
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
                self._stop.wait(_LOOK)
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
            if self._until_end and not self._left:
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
        self._kafka.open(f"{GROUP}-{self._topic_id}", (most + 1) * _MIB, linger_ms=0)
        self._lost = ""
        self._consumer = Consumer({**reader_options(kafka), **_READ, "error_cb": self._met})
        begin = self._begin()
        self._left = {place.partition for place in begin}
        self._consumer.assign(begin)

    def _begin(self) -> list[TopicPartition]:
        """Where each partition is read from: never twice, and what is gone is said."""
        wait = self._settings.kafka.request_timeout.total_seconds()
        topic = self._churn.topic
        known = self._consumer.list_topics(topic, timeout=wait).topics[topic].partitions
        asked = [TopicPartition(topic, number) for number in sorted(known)]
        found = []
        for place in self._consumer.committed(asked, timeout=wait):
            low, high = self._consumer.get_watermark_offsets(place, timeout=wait)
            is_known = place.offset >= 0 and place.metadata in {None, self._topic_id}
            offset = min(place.offset, high) if is_known else low
            if offset < low:
                log.error("records are gone that were not scored", topic=topic,
                          partition=place.partition, records=low - offset)  # fmt: skip
            found.append(TopicPartition(topic, place.partition, max(low, offset)))
        return found

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
                found.append(one)
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
        for letter in outcomes.letters:
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
    "group.id": GROUP,  # never joined: partitions are assigned, and offsets are the transactions'
    "enable.auto.commit": False,
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
