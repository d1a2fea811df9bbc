"""The records of a benchmark: retail lines where the file is at hand, made ones elsewhere."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from lakehouse.products.sales.settings import sales_of
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.settings.settings import Settings
from producers.message import Message
from producers.sales import retail
from producers.sales.generator import Shares
from producers.sales.producer import generator

RETAIL = Path(__file__).parents[2] / "shared" / "data" / "online_retail.csv.gz"
"""The Online Retail file, beside the project; it is not part of it."""


def source(settings: Settings, count: int) -> tuple[str, Iterator[tuple[bytes, bytes]]]:
    """What the records are, in words, and their keys and values."""
    if RETAIL.is_file():
        name = "Online Retail, sent again under other ids until there are enough"
        return name, itertools.islice(_retail(), count)
    shop = generator(settings, sales_of(settings).seed, "bench", Shares(0, 0, 0))
    made = shop.history(count, datetime.now(UTC), 30)
    return "generated sales", ((m.key, m.value or b"") for m in made)


def _retail() -> Iterator[tuple[bytes, bytes]]:
    """The file's lines, round after round; each round has ids of its own."""
    lines = [m for m in retail.read(RETAIL) if m.kind == "good"]
    for number in itertools.count():
        for message in lines:
            yield _again(message, number)


def _again(message: Message, number: int) -> tuple[bytes, bytes]:
    value = message.value or b""
    if number == 0:
        return message.key, value
    fields = json.loads(value)
    mark = f"-{number}".encode()
    order, event = (str(fields[name]).encode() for name in ("order_id", "event_id"))
    value = value.replace(b'"event_id":"%s"' % event, b'"event_id":"%s"' % (event + mark), 1)
    value = value.replace(b'"order_id":"%s"' % order, b'"order_id":"%s"' % (order + mark), 1)
    return message.key + mark, value


def fill(settings: Settings, records: Iterable[tuple[bytes, bytes]]) -> tuple[int, float]:
    """Send records to the sales topic; how many, and their mean size in bytes."""
    topic = settings.product("sales").topic
    ensure_topic(settings.kafka, settings.product("sales"))
    producer = fast_producer(settings)
    count = size = 0
    for key, value in records:
        post(producer, topic, key, value)
        count += 1
        size += len(value)
    producer.flush()
    return count, size / max(count, 1)


def fast_producer(settings: Settings) -> Producer:
    """A producer that takes little of the machine that is measured."""
    return Producer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "enable.idempotence": True,
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def post(producer: Producer, topic: str, key: bytes, value: bytes) -> None:
    """Send one record, waiting while the queue is full."""
    while True:
        try:
            producer.produce(topic, value, key)
            return
        except BufferError:
            producer.poll(0.1)
        finally:
            producer.poll(0)


def paced(per_second: int, until: float) -> Iterator[int]:
    """How many events are due, again and again, until a monotonic time."""
    started, sent = time.monotonic(), 0
    while (now := time.monotonic()) < until:
        due = int((now - started) * per_second) - sent
        if due:
            sent += due
            yield due
        time.sleep(0.01)
