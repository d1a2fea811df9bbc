"""The records of a benchmark: retail lines where the file is at hand, made ones elsewhere."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from confluent_kafka import Producer

from lakehouse.products.sales.settings import sales_of
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.settings.settings import Settings
from producers.message import Message
from producers.sales import retail
from producers.sales.faults import FAULTS
from producers.sales.generator import Shares
from producers.sales.producer import generator

RETAIL = Path(__file__).parents[2] / "shared" / "data" / "online_retail.csv.gz"
"""The Online Retail file, beside the project; it is not part of it."""


Pairs = Iterator[tuple[bytes, bytes | None]]
"""Keys and values."""
BROKEN, COPIES = 0.005, 0.01
"""Shares of the topic that is not whole."""


class Habit(StrEnum):
    """How a producer writes the same content."""

    COMPACT = "compact"
    SPACED = "spaced"
    REORDERED = "reordered"
    BROKEN = "broken"


def _spaced(records: Pairs) -> Pairs:
    for key, value in records:
        yield key, json.dumps(json.loads(value or b"")).encode()


def _reordered(records: Pairs) -> Pairs:
    for key, value in records:
        fields = json.loads(value or b"")
        turned = {name: fields[name] for name in sorted(fields)}
        yield key, json.dumps(turned, separators=(",", ":")).encode()


def _broken(records: Pairs) -> Pairs:
    """A copy comes in the place of another record, so that the count stays."""
    dice, faults = random.Random(7), [*FAULTS.values()]  # noqa: S311  # no secret
    kept = None
    for key, value in records:
        roll = dice.random()
        if roll < BROKEN:
            yield key, dice.choice(faults)(json.loads(value or b""))
        elif roll < BROKEN + COPIES and kept:
            yield kept
        else:
            yield key, value
            if roll > 0.9:
                kept = key, value


HABITS: Mapping[Habit, Callable[[Pairs], Pairs]] = {
    Habit.COMPACT: lambda records: records,
    Habit.SPACED: _spaced,
    Habit.REORDERED: _reordered,
    Habit.BROKEN: _broken,
}


def source(settings: Settings, count: int) -> tuple[str, Pairs]:
    """What the records are, as text, and their keys and values."""
    if RETAIL.is_file():
        name = "Online Retail, sent again under other ids until there are enough"
        return name, itertools.islice(_retail(), count)
    shop = generator(settings, sales_of(settings).seed, "bench", Shares(0, 0, 0))
    made = shop.history(count, datetime.now(UTC), 30)
    return "generated sales", ((m.key, m.value) for m in made)


def _retail() -> Pairs:
    """The file's lines, round after round; each round has ids of its own."""
    lines = [m for m in retail.Retail(RETAIL) if m.kind == "good"]
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


def fill(
    settings: Settings, topic: str, records: Iterable[tuple[bytes, bytes | None]]
) -> tuple[int, float]:
    """Send records to a topic of sales; how many, and their mean size in bytes."""
    sales = settings.product("sales").model_copy(update={"topic": topic})
    ensure_topic(settings.kafka, sales)
    producer = fast_producer(settings)
    count = size = 0
    for key, value in records:
        post(producer, topic, key, value)
        count += 1
        size += len(value or b"")
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


def post(producer: Producer, topic: str, key: bytes, value: bytes | None) -> None:
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
