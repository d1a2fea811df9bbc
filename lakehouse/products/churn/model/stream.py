"""The scorer of a topic: each record of a customer has one outcome, whatever is killed.

Predictions, dead letters and the offsets of the records that they are of are one Kafka
transaction, so a reader of committed records finds an outcome exactly where a group has read.

Worked example. The group has read up to 100, and 300 records came.

- Before: the outcomes up to 99 are committed. Those of 100 to 399 are sent.
- Crash here, or before the commit is answered: the next scorer fences this one, and ends what it
  left open; then the group says 400, and the outcomes are there, or it says 100, and none is.
- A group's offset says which topic it is of: one that was recreated is scored from its beginning.

One process scores a topic: a second one takes it over, and the first ends with a clear error.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException

from lakehouse.core.errors import LakehouseError, ServiceAway, SettingsError, TableMissing
from lakehouse.core.patience import Patience
from lakehouse.core.progress import advance
from lakehouse.core.signals import Stop
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.churn.model.ahead import Ahead
from lakehouse.products.churn.model.current import LOOK, Current
from lakehouse.products.churn.model.outcomes import (
    NAMED,
    Outcomes,
    Scored,
    outcomes_of,
)
from lakehouse.products.churn.model.reading import Reading, started
from lakehouse.products.churn.model.span import LIVE, Span
from lakehouse.products.churn.model.store import Models
from lakehouse.products.churn.settings import churn_of, predictions_of
from lakehouse.settings.kafka_client import ensure_topic, unreachable
from lakehouse.settings.sections import ProductSettings
from lakehouse.settings.settings import Settings
from lakehouse.sinks.transactions import Transactions

_REPORT = 10.0
_MIB = 2**20
_GROWTH = 3
"""A prediction has an event's id twice, and so much longer than its event it may be."""
_EXPIRED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
Made = tuple[Outcomes, dict[int, int]]
log = structlog.get_logger("lakehouse")


class ScoringService:
    """Scores the topic of customers until a stop, or until nothing is left."""

    def __init__(
        self, settings: Settings, stop: Stop, span: Span = LIVE, *, available_now: bool = False
    ) -> None:
        self._settings, self._stop, self._span = settings, stop, span
        self._until_end = available_now or not span.is_live
        self._churn, self._predictions = churn_of(settings), predictions_of(settings)
        _check_times(self._churn, self._predictions)
        self._rules = TimeRules(self._churn.earliest_time, self._churn.future_tolerance)
        self._current = Current(Models(settings.lake.root), span.model)
        self._kafka = Transactions(settings.kafka, self._predictions.topic, span.group)
        self._reading: Reading | None = None
        self._pool = ThreadPoolExecutor(1, "scorer")
        self._following: Future[Made | None] | None = None
        self._scores, self._reported = "", time.monotonic()
        self.scored = Scored()

    def run(self) -> Scored:
        """Score; ServiceAway where Kafka stays away for longer than ``[services] patience``."""
        try:
            if self._has_model():
                self._run()
        finally:
            self._close()
            self._pool.shutdown()
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
                reading = self._reading or self._open()
                if reading.is_outdated():
                    self._close()
                    continue
                self._turn(reading)
                patience.progress()
                if self._until_end and not (reading.left or self._following):
                    return
            except KafkaException as error:
                self._wait(patience, self._told(error.args[0]))
            except ServiceAway as error:
                self._wait(patience, error)

    def _wait(self, patience: Patience, error: LakehouseError) -> None:
        self._close()
        if not isinstance(error, ServiceAway):
            raise error
        patience.again(error)

    def _told(self, error: KafkaError) -> LakehouseError:
        if error.code() in _EXPIRED:  # the next start says how many
            return unreachable(self._settings.kafka, error.str())
        return self._kafka.told(error)

    def _open(self) -> Reading:
        """Make the topics, fence other scorers, and go on where the group is."""
        start = started(self._settings, self._span, self._rules)
        ahead = Ahead(self._settings.kafka, start, self._stop) if self._until_end else None
        try:
            topic_id = self._fenced()
            self._reading = Reading(self._settings, self._span, start, topic_id, ahead)
        except BaseException:
            if ahead:
                ahead.close()
            raise
        self._tell(self._reading)
        return self._reading

    def _fenced(self) -> str:
        """Fence other scorers; the id of the topic, which is made like those that are written."""
        kafka = self._settings.kafka
        most = min(_GROWTH * self._churn.max_message_mb, 95)
        topic_id = ensure_topic(kafka, self._churn)
        ensure_topic(kafka, self._predictions.model_copy(update={"max_message_mb": most}))
        letters = {
            "topic": self._churn.deadletter_topic, "partitions": 1, "max_message_mb": most,
        }  # fmt: skip
        ensure_topic(kafka, self._churn.model_copy(update=letters))
        self._kafka.open(f"{self._span.group}-{topic_id}", most * _MIB)
        return topic_id

    def _turn(self, reading: Reading) -> None:
        """Commit the outcomes of what has come; waits a moment where nothing has."""
        found = self._next(reading)
        if found is None:
            return
        outcomes, read = found
        self._commit(outcomes, *reading.offsets.taken(read))
        self.scored.add(outcomes)
        self._report()
        self._tell(reading)

    def _tell(self, reading: Reading) -> None:
        """How far a batch is."""
        if self._until_end:
            done = self.scored.predictions + self.scored.dead_letters
            advance("scoring", done, done + reading.waiting(), "records")

    def _next(self, reading: Reading) -> Made | None:
        """Outcomes, and the offsets after them; of a large batch some more are made meanwhile."""
        if not reading.is_ahead:
            return self._made(reading)
        found = (self._following or self._pool.submit(self._made, reading)).result()
        self._following = self._pool.submit(self._made, reading) if reading.left else None
        return found

    def _made(self, reading: Reading) -> Made | None:
        scorer, found = self._current.scorer(), reading.read()
        self._scores = scorer.card.version
        return found and (outcomes_of(found[0], scorer, datetime.now(UTC)), found[1])

    def _commit(self, outcomes: Outcomes, offsets: Sequence[Any], group: Any) -> None:
        """One transaction: the outcomes, and how far the group has read with them."""
        topic = self._predictions.topic
        self._kafka.begin()
        self._kafka.hand_all(topic, outcomes.predictions, NAMED)
        for letter in outcomes.letters if self._span.is_live else ():
            self._kafka.hand(
                self._churn.deadletter_topic, letter.key, letter.value, letter.headers
            )  # fmt: skip
        self._kafka.take_offsets(offsets, group)
        self._kafka.commit()

    def _report(self) -> None:
        if time.monotonic() - self._reported >= _REPORT:
            self._reported = time.monotonic()
            log.info("scored", predictions=self.scored.predictions,
                     dead_letters=self.scored.dead_letters, model=self._scores)  # fmt: skip

    def _close(self) -> None:
        self._kafka.close()
        reading, self._reading = self._reading, None
        following, self._following = self._following, None
        if reading is not None:
            reading.end()
            wait([following] if following else [])
            reading.close()


def _check_times(churn: ProductSettings, predictions: ProductSettings) -> None:
    """SettingsError where predictions would be broken that are of customers who are not."""
    if predictions.earliest > churn.earliest:
        name = "earliest"
    elif predictions.future_tolerance < churn.future_tolerance:
        name = "future_tolerance"
    else:
        return
    raise SettingsError(
        f"[churn_predictions] {name}", "is narrower than that of [churn]: a prediction has its "
        "customer's time, and would go to quarantine", f"give both sections the same {name}",
    )  # fmt: skip
