"""What Kafka itself says of a topic: its ranges, and what lies where the tables have a gap."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from kafka import TopicPartition

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.ingest.topic import Topic, TopicReader, consumer
from lakehouse.model.witness import Raw
from lakehouse.settings.kafka_client import admin, answering, topic_settings
from lakehouse.settings.sections import KafkaSettings

NEAR = 2_000
"""Offsets that are read over rather than sought past: a seek drops what was fetched."""
FETCH = 1024 * 1024
"""Bytes that are asked for at a time where records are read one after the other."""
SAMPLE = 20
"""How many of anything are listed."""


@dataclass(frozen=True)
class Gap:
    """Offsets from ``first`` to before ``next`` that neither table has."""

    partition: int
    first: int
    next: int

    def __len__(self) -> int:
        return self.next - self.first


@dataclass(frozen=True)
class Judged:
    """What Kafka has in a gap: committed records, aborted ones; the rest holds no record."""

    gap: Gap
    committed: int = 0
    aborted: int = 0
    first_committed: tuple[int, ...] = ()
    """The first offsets of committed records."""


Judge = Callable[[Iterable[Gap]], Iterator[Judged]]
"""Tells what is in gaps; they come by partition, the lower offsets first."""


Records = Callable[[Iterable[Gap]], Iterator[Raw]]
"""Gives the committed records of ranges; they come by partition, the lower offsets first."""


@dataclass(frozen=True)
class Broker:
    """Kafka's side of the audit: how to read a topic, and how to judge a gap."""

    topic: Callable[[], Topic | None]
    judge: Judge
    records: Records | None = None
    """How to read records; None where their content cannot be read."""
    is_compacted: Callable[[], bool] = lambda: False
    """Whether the topic loses records to compaction."""


def read_topic(kafka: KafkaSettings, name: str) -> Topic | None:
    """The topic as the broker has it now; None where it has none of this name.

    Raises ServiceUnavailable.
    """
    with TopicReader(kafka, name) as reader:
        return reader.read()


def retention(kafka: KafkaSettings, name: str) -> str:
    """How long the topic keeps records, as text. Raises ServiceUnavailable."""
    policy, kept = _policy(kafka, name)
    if "delete" not in policy or int(kept) < 0:
        return f"for good (cleanup.policy {policy}, retention.ms {kept})"
    return f"for {span(int(kept))} (retention.ms {kept}, cleanup.policy {policy})"


def span(milliseconds: int) -> str:
    """A time that a topic keeps records, in the largest unit that it has one of."""
    for unit, length in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)):
        if milliseconds >= length:
            return f"{milliseconds / length:,.6g} {unit}"
    return f"{milliseconds:,} ms"


def is_compacted(kafka: KafkaSettings, name: str) -> bool:
    """Whether compaction takes records of the topic. Raises ServiceUnavailable."""
    return "compact" in _policy(kafka, name)[0]


def _policy(kafka: KafkaSettings, name: str) -> tuple[str, str]:
    """The topic's ``cleanup.policy`` and ``retention.ms``."""
    with answering(kafka), closing(admin(kafka)) as client:
        values = topic_settings(client, name)
        return str(values["cleanup.policy"]["value"]), str(values["retention.ms"]["value"])


def records(kafka: KafkaSettings, topic: str) -> Records:
    """A reader of the topic's committed records; only what a poll brought is in memory.

    Another process may be handed it.
    """
    return partial(_committed, kafka, topic)


def _committed(kafka: KafkaSettings, topic: str, gaps: Iterable[Gap]) -> Iterator[Raw]:
    with answering(kafka), consumer(kafka, "read_committed", FETCH) as committed:
        reader = _Reader(committed, topic, kafka)
        for gap in gaps:
            yield from map(_raw, reader.records(gap))


def _raw(record: Any) -> Raw:
    return Raw(
        record.partition, record.offset, record.timestamp, record.key, record.value, record.headers
    )


def judge(kafka: KafkaSettings, topic: str) -> Judge:
    """A judge of gaps that reads the topic, once as it stands and once committed records only."""

    def judged(gaps: Iterable[Gap]) -> Iterator[Judged]:
        with (
            answering(kafka),
            consumer(kafka, "read_uncommitted") as everything,
            consumer(kafka, "read_committed") as committed,
        ):
            sides = [_Reader(c, topic, kafka) for c in (everything, committed)]
            for gap in gaps:
                yield _judged(gap, *sides)

    return judged


def _judged(gap: Gap, everything: _Reader, committed: _Reader) -> Judged:
    written = sum(1 for _ in everything.offsets(gap))
    if not written:
        return Judged(gap)
    count = 0
    first: list[int] = []
    for offset in committed.offsets(gap):
        count += 1
        if len(first) < SAMPLE:
            first.append(offset)
    return Judged(gap, count, max(0, written - count), tuple(first))


class _Reader:
    """The records of gap after gap; only what a poll brought is in memory."""

    def __init__(self, consumer: Any, topic: str, kafka: KafkaSettings) -> None:
        self._consumer, self._topic, self._kafka = consumer, topic, kafka
        self._place: TopicPartition | None = None
        self._ahead: deque[Any] = deque()

    def offsets(self, gap: Gap) -> Iterator[int]:
        """Offsets in the gap that hold a record, as this consumer sees them."""
        return (record.offset for record in self.records(gap))

    def records(self, gap: Gap) -> Iterator[Any]:
        """The gap's records, as this consumer sees them."""
        self._go_to(gap)
        while True:
            while self._ahead:
                if self._ahead[0].offset >= gap.next:
                    return
                record = self._ahead.popleft()
                if record.offset >= gap.first:
                    yield record
            if self._position() >= gap.next:
                return
            self._fetch(gap)

    def _go_to(self, gap: Gap) -> None:
        place = TopicPartition(self._topic, gap.partition)
        if place != self._place:
            self._consumer.assign([place])
            self._place = place
        elif gap.first <= self._position() + NEAR:
            return  # what lies between was read already, or is read over
        self._ahead.clear()
        self._consumer.seek(place, gap.first)

    def _position(self) -> int:
        return int(self._consumer.position(self._place))

    def _fetch(self, gap: Gap) -> None:
        """Poll until records come or the position moves: markers move it without a record."""
        before = self._position()
        deadline = time.monotonic() + self._kafka.request_timeout.total_seconds()
        while time.monotonic() < deadline:
            for records in self._consumer.poll(timeout_ms=200).values():
                self._ahead.extend(records)
            if self._ahead or self._position() > before:
                return
        raise ServiceUnavailable(
            f"topic {self._topic}, partition {gap.partition}",
            f"Kafka did not give offsets {gap.first} to {gap.next - 1} in time",
            "look at the broker's log, or raise [kafka] request_timeout",
        )
