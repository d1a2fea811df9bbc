"""Sends records to Kafka: idempotent, acknowledged by all replicas, counted by kind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, Producer
from kafka import KafkaProducer
from kafka.errors import KafkaError

from lakehouse.core import failpoint
from lakehouse.core.errors import ServiceAway
from lakehouse.core.failpoint import Step
from lakehouse.core.patience import SILENCE, Answers, Patience, patiently
from lakehouse.core.progress import advance
from lakehouse.core.signals import Stopped
from lakehouse.model.contract import Contract
from lakehouse.settings.kafka_client import (
    client_options,
    ensure_topic,
    reader_options,
    unreachable,
)
from lakehouse.settings.settings import Settings
from producers.message import Message

IN_FLIGHT = 50_000
"""Most records that may wait for an acknowledgement."""
_OFTEN = 0.02
"""Seconds from one look at the broker's answers to the next, while records are posted."""
LARGEST = 8 * 1024 * 1024
"""Bytes of the largest record."""
_EXACT = Context(prec=60)  # the default context rounds sums to 28 digits


@dataclass
class Summary:
    """What a producer sent, and in which tables it must end."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    seconds: float = 0.0
    by_kind: Counter[str] = field(default_factory=Counter)
    amounts: dict[str, Decimal] = field(default_factory=dict)
    """Unit → the sum of the amounts of the events that count."""
    error: str = ""

    def told(self) -> str:
        """How many records were acknowledged, in words."""
        failed = f"; the last failure: {self.error}" if self.error else ""
        return (
            f"sent {self.acknowledged:,} of {self.sent:,} records in {self.seconds:.1f} s{failed}"
        )

    @property
    def events(self) -> int:
        """How many records were sent, without deliberate duplicates: what ``--count`` limits."""
        return self.sent - self.by_kind["duplicate"]

    @property
    def by_fault(self) -> dict[str, int]:
        """Deliberate fault (late, duplicate or corrupt:<fault>) → how many records."""
        return {kind: n for kind, n in sorted(self.by_kind.items()) if kind != "good"}

    @property
    def good(self) -> int:
        """How many distinct events keep the contract."""
        return self.bronze - self.by_kind["duplicate"]

    @property
    def expected(self) -> dict[str, int]:
        """Where the records must end: rows of bronze, duplicates among them, rows of quarantine."""
        return {
            "bronze": self.bronze,
            "duplicates": self.by_kind["duplicate"],
            "quarantine": self.quarantine,
        }

    @property
    def quarantine(self) -> int:
        """How many records break the contract."""
        return sum(n for kind, n in self.by_kind.items() if kind.startswith("corrupt"))

    @property
    def bronze(self) -> int:
        """How many records keep the contract, duplicates included."""
        return self.sent - self.quarantine

    def as_dict(self) -> dict[str, Any]:
        """As JSON-ready values: the counts, and where the records must end."""
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "seconds": round(self.seconds, 2),
            "good": self.good,
            "by_kind": dict(sorted(self.by_kind.items())),
            "by_fault": self.by_fault,
            "expected": self.expected,
            "error": self.error,
        }


def send(
    settings: Settings,
    contract: Contract,
    messages: Iterable[Message],
    *,
    total: int | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Send every message to the contract's topic, until ``stop`` is set; gives what arrived.

    Records of one key go to one partition. Headers name the contract, and the fault of a
    deliberately broken record. A broker that is away is waited for, as [services] patience
    says; if it stays away, unacknowledged records count as failed.
    """
    stop = stop or threading.Event()
    section, limit = settings.product(contract.name), settings.services.patience
    summary = Summary()
    started = time.perf_counter()

    def connected() -> Producer:
        ensure_topic(settings.kafka, section)
        return _client(settings)

    try:
        producer = patiently(connected, limit, stop)
    except Stopped:
        return summary
    answers = Answers(Patience(limit, stop), partial(unreachable, settings.kafka))
    posting, told = _Posting(producer, section.topic, contract, summary, answers), ""
    try:
        for message in messages:
            posting.post(message)
            if summary.sent % 500 == 0:
                advance("sending", summary.events, total or 0, "records")
            if stop.is_set():
                break
        advance("sending", summary.events, total or 0, "records")
        posting.hold(0)
    except ServiceAway as error:  # the broker stays away
        told = summary.error or error.fault
        producer.purge()
    finally:
        producer.flush(settings.kafka.request_timeout.total_seconds())
    summary.error = told or summary.error
    summary.failed = summary.sent - summary.acknowledged
    summary.seconds = time.perf_counter() - started
    return summary


class _Posting:
    """Hands messages to the client, and counts what the broker says of them."""

    def __init__(
        self, producer: Any, topic: str, contract: Contract, summary: Summary, answers: Answers
    ) -> None:
        self._producer, self._topic = producer, topic
        self._summary, self._answers = summary, answers
        self._name = ("contract", f"{contract.name}/{contract.version}".encode())
        self._next = 0.0  # when to look at the answers, by the monotonic clock

    def post(self, message: Message) -> None:
        """Send one message; its partition is the one that any Kafka client computes for its key.

        Now and then the answers are taken, and too many that are owed are waited for.
        """
        self._hand_over(message)
        if time.monotonic() >= self._next:
            self.hold(IN_FLIGHT)
            self._next = time.monotonic() + _OFTEN

    def _hand_over(self, message: Message) -> None:
        headers = [self._name]
        if message.kind.startswith("corrupt"):
            headers.append(("fault", message.kind.encode()))
        _count(self._summary, message)
        while True:
            try:
                self._producer.produce(
                    self._topic, message.value, message.key, headers=headers,
                    on_delivery=self._answered,
                )  # fmt: skip
            except BufferError:
                self.hold(0)
            except KafkaException as error:
                self._answered(error.args[0], None)
                return
            else:
                failpoint.reach(Step.RECORD_POSTED)
                return

    def hold(self, most: int) -> None:
        """Take the broker's answers; wait while it owes more than ``most``.

        ServiceAway where nothing is acknowledged for too long. A capture has a wait of its own
        (:mod:`producers.cdc.sink`): it must keep its slot's connection alive, and it ends at the
        first failure, while failures are only counted here.
        """
        self._producer.poll(0)
        while True:
            answered = self._summary.acknowledged + self._summary.failed
            self._answers.look(self._summary.sent, answered)
            if self._summary.sent - answered <= most:
                return
            self._producer.poll(0.005)

    def _answered(self, error: Any, _: object) -> None:
        if error is None:
            failpoint.reach(Step.RECORD_TAKEN)
            self._summary.acknowledged += 1
        else:
            self._summary.failed += 1
            self._summary.error = f"{error.name()}: {error.str()}"


def _client(settings: Settings) -> Producer:
    """librdkafka's client: it takes a record in a fifth of the time that Python's own does."""
    return Producer(
        {
            **reader_options(settings.kafka),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # as other clients place a key
            "linger.ms": 20,
            "batch.size": 256 * 1024,
            "message.max.bytes": LARGEST,
            "queue.buffering.max.messages": 2 * IN_FLIGHT,
            "delivery.timeout.ms": _longest_wait(settings),
            "log_level": 0,  # errors are reported by us
        }
    )


def _count(summary: Summary, message: Message) -> None:
    summary.sent += 1
    summary.by_kind[message.kind] += 1
    if message.amount:
        before = summary.amounts.get(message.unit, Decimal(0))
        summary.amounts[message.unit] = _EXACT.add(before, message.amount)


def make_producer(settings: Settings, **options: Any) -> KafkaProducer:
    """A producer that is idempotent and acknowledged by all replicas."""
    milliseconds = _longest_wait(settings)
    chosen = {
        "acks": "all", "enable_idempotence": True, "linger_ms": 20,
        "delivery_timeout_ms": milliseconds, "max_block_ms": milliseconds,
        "batch_size": 256 * 1024, "max_request_size": LARGEST, **options,
    }  # fmt: skip
    try:
        return KafkaProducer(**client_options(settings.kafka), **chosen)
    except (KafkaError, OSError, ValueError) as error:
        raise unreachable(settings.kafka, error) from None


def _longest_wait(settings: Settings) -> int:
    """Milliseconds: who sends ends its wait by [services] patience, so a client's are more."""
    wait = settings.services.patience + settings.kafka.request_timeout
    return int((wait.total_seconds() + SILENCE + 1) * 1000)
