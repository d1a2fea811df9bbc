"""The topics of churn: made where they are missing, and how far their customers are scored."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lakehouse.audit.topic import read_topic
from lakehouse.core.signals import Stop
from lakehouse.ingest.topic import Topic
from lakehouse.products.churn.proof.outcomes import committed
from lakehouse.products.churn.settings import churn_of, predictions_of
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.settings.sections import ProductSettings
from lakehouse.settings.settings import Settings

_LOOK = 0.5


@dataclass(frozen=True)
class Held:
    """A topic: its partitions and offsets, and of customers how many have no outcome yet.

    Offsets are the records, and the marks of Kafka's transactions.
    """

    topic: str
    partitions: int
    offsets: int
    not_scored: int | None = None


def sections(settings: Settings) -> list[ProductSettings]:
    """Customers, predictions and dead letters, as they are made."""
    churn = churn_of(settings)
    letters = {"topic": churn.deadletter_topic, "partitions": 1,
               "max_message_mb": churn.max_message_mb + 1}  # fmt: skip
    return [churn, predictions_of(settings), churn.model_copy(update=letters)]


def topics(settings: Settings, wait: float, stop: Stop) -> list[Held]:
    """What each topic holds, once all customers that it has now are scored, or the wait is over.

    ServiceUnavailable where the broker does not answer.
    """
    found = []
    for section in sections(settings):
        ensure_topic(settings.kafka, section)
        topic = read_topic(settings.kafka, section.topic)
        offsets = sum(end - first for first, end in topic.ranges.values()) if topic else 0
        found.append(Held(section.topic, len(topic.ranges) if topic else 0, offsets))
    customers = read_topic(settings.kafka, churn_of(settings).topic)
    left, until = _left(settings, customers), time.monotonic() + wait
    while left and time.monotonic() < until and not stop.wait(_LOOK):
        left = _left(settings, customers)
    first = found[0]
    return [Held(first.topic, first.partitions, first.offsets, left), *found[1:]]


def _left(settings: Settings, topic: Topic | None) -> int:
    """How many of the records that the topic had then have no outcome."""
    if topic is None:
        return 0
    read = committed(settings, topic.id, topic.ranges)
    ranges = topic.ranges.items()
    return sum(max(0, end - max(first, read.get(n, first))) for n, (first, end) in ranges)
