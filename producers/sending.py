"""Sends records to Kafka: idempotent, acknowledged by all replicas, counted by kind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import partial
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner import murmur2

from lakehouse.core import failpoint
from lakehouse.core.errors import ServiceAway
from lakehouse.core.failpoint import Step
from lakehouse.core.patience import SILENCE, Answers, Patience, patiently
from lakehouse.core.progress import advance
from lakehouse.core.signals import Stopped
from lakehouse.model.contract import Contract
from lakehouse.settings.kafka_client import client_options, ensure_topic, unreachable
from lakehouse.settings.settings import Settings
from producers.message import Message

IN_FLIGHT = 50_000
"""Most records that may wait for an acknowledgement."""
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

    def connected() -> KafkaProducer:
        ensure_topic(settings.kafka, section)
        return make_producer(settings)

    try:
        producer = patiently(connected, limit, stop)
    except Stopped:
        return summary
    patience = Patience(limit, stop)
    answers = Answers(patience, partial(unreachable, settings.kafka))
    try:
        post = _poster(producer, section.topic, contract, summary)
        for message in messages:
            post(message)
            if summary.sent % 500 == 0:
                advance("sending", summary.events, total or 0, "records")
            _hold(summary, answers, IN_FLIGHT)
            if stop.is_set():
                break
        advance("sending", summary.events, total or 0, "records")
        _hold(summary, answers, 0)
    except (KafkaError, ServiceAway) as error:  # the broker stays away
        told = error.fault if isinstance(error, ServiceAway) else f"{type(error).__name__}: {error}"
        summary.error = summary.error or told
        producer._sender.force_close()  # close() alone would flush again, and raise again
    finally:
        producer.close(timeout=settings.kafka.request_timeout.total_seconds())
    summary.failed = summary.sent - summary.acknowledged
    summary.seconds = time.perf_counter() - started
    return summary


def _poster(
    producer: KafkaProducer, topic: str, contract: Contract, summary: Summary
) -> Callable[[Message], None]:
    """A function that sends one message, and counts it and its acknowledgement or failure.

    Its partition is the one that any Kafka client computes for the key (murmur2). It is
    computed only when the key changes, because messages of one key follow each other.
    """
    name = ("contract", f"{contract.name}/{contract.version}".encode())
    partitions = len(producer.partitions_for(topic) or [0])
    last_key, partition = b"", 0

    def acknowledged(_: Any) -> None:  # only the client's one sending thread calls this
        failpoint.reach(Step.RECORD_TAKEN)
        summary.acknowledged += 1

    def failed(error: Any) -> None:
        summary.failed += 1
        summary.error = f"{type(error).__name__}: {error}"

    def post(message: Message) -> None:
        nonlocal last_key, partition
        if message.key != last_key:
            last_key = message.key
            partition = (murmur2(last_key) & 0x7FFFFFFF) % partitions
        headers = [name]
        if message.kind.startswith("corrupt"):
            headers.append(("fault", message.kind.encode()))
        _count(summary, message)
        try:
            future = producer.send(
                topic, message.value, key=message.key, headers=headers, partition=partition
            )
        except KafkaError as error:
            failed(error)
            return
        failpoint.reach(Step.RECORD_POSTED)
        future.add_callback(acknowledged).add_errback(failed)

    return post


def _hold(summary: Summary, answers: Answers, most: int) -> None:
    """Wait while more records are unacknowledged: the client's own buffer has no limit.

    ServiceAway where nothing is acknowledged for too long. A capture has a wait of its own
    (:mod:`producers.cdc.sink`): it must keep its slot's connection alive, and it ends at the
    first failure, while failures are only counted here.
    """
    while True:
        answered = summary.acknowledged + summary.failed
        answers.look(summary.sent, answered)
        if summary.sent - answered <= most:
            return
        time.sleep(0.005)


def _count(summary: Summary, message: Message) -> None:
    summary.sent += 1
    summary.by_kind[message.kind] += 1
    if message.amount:
        before = summary.amounts.get(message.unit, Decimal(0))
        summary.amounts[message.unit] = _EXACT.add(before, message.amount)


def make_producer(settings: Settings, **options: Any) -> KafkaProducer:
    """A producer that is idempotent and acknowledged by all replicas."""
    # who sends ends its wait by [services] patience: the client's own time is a little longer
    wait = settings.services.patience + settings.kafka.request_timeout
    milliseconds = int((wait.total_seconds() + SILENCE + 1) * 1000)
    chosen = {
        "acks": "all", "enable_idempotence": True, "linger_ms": 20,
        "delivery_timeout_ms": milliseconds, "max_block_ms": milliseconds,
        "batch_size": 256 * 1024, "max_request_size": 8 * 1024 * 1024, **options,
    }  # fmt: skip
    try:
        return KafkaProducer(**client_options(settings.kafka), **chosen)
    except (KafkaError, OSError, ValueError) as error:
        raise unreachable(settings.kafka, error) from None
