"""Messages → Kafka: idempotent, acknowledged by all replicas, counted by what they are."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from zlib import crc32

from kafka import KafkaProducer
from kafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lakehouse.contracts.sales import SALES
from lakehouse.core.kafka import client_options, ensure_topic, unreachable
from lakehouse.core.settings import Settings
from producers.message import Message

IN_FLIGHT = 50_000
"""Most records that wait for their acknowledgement."""


@dataclass
class Summary:
    """What a producer sent, and where it must end."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    seconds: float = 0.0
    by_kind: Counter[str] = field(default_factory=Counter)
    revenue: dict[str, Decimal] = field(default_factory=dict)
    """Σ quantity × price of events that count, by currency."""
    error: str = ""

    @property
    def quarantine(self) -> int:
        """Records that break the contract."""
        return sum(n for kind, n in self.by_kind.items() if kind.startswith("corrupt"))

    @property
    def bronze(self) -> int:
        """Records that keep it."""
        return self.sent - self.quarantine

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counts, faults, and revenue as text."""
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "seconds": round(self.seconds, 2),
            "by_kind": dict(sorted(self.by_kind.items())),
            "expected": {"bronze": self.bronze, "quarantine": self.quarantine},
            "net_revenue": {c: str(r) for c, r in sorted(self.revenue.items())},
            "error": self.error,
        }


def send(
    settings: Settings,
    messages: Iterable[Message],
    *,
    total: int | None = None,
    stop: threading.Event | None = None,
    console: Console | None = None,
) -> Summary:
    """Send every message to the sales topic, until ``stop`` is set; what became of them.

    A message's key is its order, so an order stays in one partition. Headers name
    the contract, and the fault of a record that is broken on purpose.
    """
    stop = stop or threading.Event()
    product = settings.product("sales")
    ensure_topic(settings.kafka, product)
    producer = _producer(settings)
    summary = Summary()
    good_header = [("contract", f"{SALES.name}/{SALES.version}".encode())]
    acknowledged = threading.Lock()

    def done(_: Any) -> None:
        with acknowledged:
            summary.acknowledged += 1

    def failed(error: Any) -> None:
        with acknowledged:
            summary.failed += 1
            summary.error = str(error)

    started = time.perf_counter()
    partitions = len(producer.partitions_for(product.topic) or [0])
    try:
        with _progress(console) as progress:
            task = progress.add_task("sending", total=total)
            for message in messages:
                corrupt = message.kind.startswith("corrupt")
                fault = [("fault", message.kind.encode())] if corrupt else []
                producer.send(
                    product.topic,
                    message.value,
                    key=message.key,
                    headers=good_header + fault,
                    partition=crc32(message.key) % partitions,
                ).add_callback(done).add_errback(failed)
                _count(summary, message)
                if summary.sent % 500 == 0:
                    progress.update(task, completed=summary.sent)
                    _hold(summary)
                if stop.is_set():
                    break
            progress.update(task, completed=summary.sent)
            producer.flush()
    except KafkaError as error:
        raise unreachable(settings.kafka, error) from None
    finally:
        producer.close(timeout=settings.kafka.request_timeout.total_seconds())
    summary.seconds = time.perf_counter() - started
    return summary


def _hold(summary: Summary) -> None:
    """Wait while too much is under way: the client's own buffer has no bound."""
    while summary.sent - summary.acknowledged - summary.failed > IN_FLIGHT:
        time.sleep(0.005)


def _count(summary: Summary, message: Message) -> None:
    summary.sent += 1
    summary.by_kind[message.kind] += 1
    if message.revenue:
        before = summary.revenue.get(message.currency, Decimal(0))
        summary.revenue[message.currency] = before + message.revenue


def _producer(settings: Settings) -> KafkaProducer:
    try:
        return KafkaProducer(
            **client_options(settings.kafka),
            acks="all",
            enable_idempotence=True,
            linger_ms=20,
            batch_size=256 * 1024,
            max_request_size=8 * 1024 * 1024,
        )
    except (KafkaError, OSError, ValueError) as error:
        raise unreachable(settings.kafka, error) from None


def _progress(console: Console | None) -> Progress:
    console = console or Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
