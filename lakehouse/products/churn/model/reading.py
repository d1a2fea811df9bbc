"""The topic of customers, read by the C client; what that cannot unpack, by Python.

Of a batch many records are read and decoded ahead, by a process of their own.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from lakehouse.ingest.decode import decode_batch
from lakehouse.ingest.reader import Start
from lakehouse.ingest.reader.records import as_rows, by_partition
from lakehouse.ingest.reader.slowly import Slowly, headers_by_python
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.churn.contract import CUSTOMERS
from lakehouse.products.churn.model.ahead import Ahead
from lakehouse.products.churn.model.span import Span
from lakehouse.products.churn.settings import churn_of
from lakehouse.settings.kafka_client import ensure_topic, reader_options, unreachable
from lakehouse.settings.settings import Settings

AT_ONCE, LOOK = 20_000, 10.0
"""Records at a time; seconds between two looks at which topic it is, and its partitions."""
MANY = 50_000
"""Records of a batch for which a process that reads ahead is worth its start."""
_MIB = 2**20
_READ = {
    "enable.auto.commit": False,  # no group is joined: offsets are committed in transactions
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "queued.max.messages.kbytes": 64 * 1024,
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 100,
    "log_level": 0,  # errors are reported by us
}
log = structlog.get_logger("lakehouse")


def started(settings: Settings, span: Span, rules: TimeRules) -> Start:
    """What a reader of the topic of customers is started with."""
    kafka = settings.kafka
    options = {**reader_options(kafka), "group.id": span.group}
    return Start(
        options, pickle.dumps(kafka), churn_of(settings).topic, CUSTOMERS, rules,
        largest=settings.bronze.max_record_mb * _MIB, ahead=0,
    )  # fmt: skip


class Reading:
    """Where a group is in the topic, and the records from there on; used by one thread.

    KafkaException, or ServiceAway, where the broker does not answer.
    """

    def __init__(
        self, settings: Settings, span: Span, start: Start, topic_id: str, ahead: Ahead | None
    ) -> None:
        """``ahead`` reads a batch that is large; a small one lets it go."""
        kafka = settings.kafka
        self._kafka, self._span, self._topic_id = kafka, span, topic_id
        self._churn = churn_of(settings)
        self._topic = self._churn.topic
        self._wait = kafka.request_timeout.total_seconds()
        self._lost = ""
        self._start = start
        self._slow: dict[int, Slowly | None] = {}
        """Partitions with a batch that the C client does not unpack."""
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._known: dict[int, int] = {}
        """How far each partition went when it was begun."""
        self._count, self._looked = 0, time.monotonic()
        self._ahead: Ahead | None = None
        self._consumer = Consumer({**start.kafka, **_READ, "error_cb": self._met})
        try:
            self._next = self._begin()
            self._ends = self._at(span.until) if span.until else {}
            self._next = {p: n for p, n in self._next.items() if self._is_within(p, n)}
            if ahead and self.waiting() >= MANY:
                ahead.begin(self._next, self._upto())
                self._ahead = ahead
            else:
                if ahead:
                    ahead.close()
                self._assign()
        except BaseException:
            self._consumer.close()
            raise
        self.left = {*self._next}
        """Partitions whose end has not been seen yet."""

    def read(self) -> tuple[Sequence[pa.RecordBatch], dict[int, int]] | None:
        """Decoded records, and the offsets that are next; None where none came."""
        if self._ahead:
            if taken := self._ahead.some():
                self._next |= taken[1]
                self.left = {n for n, end in self._upto().items() if self._next[n] < end}
            return taken
        found = [part for number in [*self._slow] for part in self._unpacked(number)]
        found = found or self._messages()
        if self._lost:
            raise unreachable(self._kafka, self._lost)
        if not found:
            return None
        parts = by_partition(found)
        again = partial(headers_by_python, self._kafka, self._topic)
        rows = [as_rows(self._topic, n, part, again, self._start.largest)
                for n, part in parts.items()]  # fmt: skip
        read = {number: int(part[-1].offset() or 0) + 1 for number, part in parts.items()}
        self._next |= read
        return [*decode_batch(pa.concat_batches(rows), CUSTOMERS, self._start.rules)], read

    def waiting(self) -> int:
        """How many of the offsets that were there at the beginning are still to be read."""
        upto = self._upto()
        return sum(max(0, upto[p] - next_) for p, next_ in self._next.items())

    def _upto(self) -> dict[int, int]:
        """Of each partition that is read, the end that it had at the beginning, or the span's."""
        return {p: min(self._known[p], self._ends.get(p, self._known[p])) for p in self._next}

    def is_outdated(self) -> bool:
        """Whether the topic was recreated, or has more partitions now; asks Kafka now and then.

        In a recreated topic, records below the former offsets would be skipped.
        """
        if time.monotonic() - self._looked < LOOK:
            return False
        self._looked = time.monotonic()
        if ensure_topic(self._kafka, self._churn) != self._topic_id:
            return True
        return len(self._numbers()) > self._count

    def _numbers(self) -> list[int]:
        known = self._consumer.list_topics(self._topic, timeout=self._wait)
        return sorted(known.topics[self._topic].partitions)

    def offsets(self, read: dict[int, int]) -> tuple[list[TopicPartition], Any]:
        """What a transaction takes: offsets that say which topic they are of, and the group."""
        places = [TopicPartition(self._topic, n, at, self._topic_id) for n, at in read.items()]
        return places, self._consumer.consumer_group_metadata()

    @property
    def is_ahead(self) -> bool:
        """Whether a process reads ahead: then another thread may read while offsets are asked."""
        return self._ahead is not None

    def end(self) -> None:
        """Let a thread that reads return soon."""
        if self._ahead:
            self._ahead.end()

    def close(self) -> None:
        """Let go of Kafka."""
        for slow in filter(None, self._slow.values()):
            slow.close()
        if self._ahead:
            self._ahead.close()
        self._consumer.close()

    def _begin(self) -> dict[int, int]:
        """Where each partition is read from: never twice, and what is gone is said."""
        numbers = self._numbers()
        self._count = len(numbers)
        self._next = dict.fromkeys(numbers, 0)
        first = self._at(self._span.since) if self._span.since else {}
        asked = [TopicPartition(self._topic, number) for number in numbers]
        found = {}
        for place in self._committed(asked):
            low, high = self._consumer.get_watermark_offsets(place, timeout=self._wait)
            self._known[place.partition] = high
            is_known = place.offset >= 0 and place.metadata in {None, self._topic_id}
            offset = min(place.offset, high) if is_known else first.get(place.partition, low)
            if offset < low:
                log.error("records are gone that were not scored", topic=self._topic,
                          partition=place.partition, records=low - offset)  # fmt: skip
            found[place.partition] = max(low, offset)
        return found

    def _committed(self, asked: list[TopicPartition]) -> list[TopicPartition]:
        """Where the group is; a broker gives it once no transaction of the group is open."""
        try:
            return self._consumer.committed(asked, timeout=self._wait)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._TIMED_OUT:
                raise
            reason = f"it does not say where group {self._span.group} is: a transaction is open"
            raise unreachable(self._kafka, reason) from None

    def _at(self, moment: datetime) -> dict[int, int]:
        """Of each partition the first offset from a Kafka time on; its end where there is none."""
        ms = math.ceil(moment.timestamp() * 1000)
        asked = [TopicPartition(self._topic, number, ms) for number in self._next]
        return {
            place.partition: place.offset
            if place.offset >= 0
            else self._consumer.get_watermark_offsets(place, timeout=self._wait)[1]
            for place in self._consumer.offsets_for_times(asked, timeout=self._wait)
        }

    def _assign(self) -> None:
        """Let the C client read on with the partitions that Python does not read."""
        here = [(n, at) for n, at in self._next.items() if n not in self._slow]
        self._consumer.assign([TopicPartition(self._topic, n, at) for n, at in here])

    def _met(self, error: KafkaError) -> None:
        """What the client says of itself: of a broker that is away, it says nothing else."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._lost = error.str()

    def _messages(self) -> list[Message]:
        first = self._consumer.poll(0.1)
        if first is None:
            return []
        found = []
        for one in (first, *self._consumer.consume(AT_ONCE - 1, 0)):
            error, number = one.error(), int(one.partition() or 0)
            if number in self._slow:
                continue
            if error is None and self._is_within(number, int(one.offset() or 0)):
                found.append(one)
            elif error is None or error.code() == KafkaError._PARTITION_EOF:
                self.left.discard(number)
            elif error.code() == KafkaError._BAD_COMPRESSION:
                self._slow[number] = None
            else:
                raise KafkaException(error)
        return found

    def _unpacked(self, number: int) -> Sequence[Message]:
        """Some of what Python reads of a partition; when that is over the C client goes on."""
        try:
            slow = self._slow[number]
            if slow is None:
                slow = self._slow[number] = Slowly(self._start, number, self._next[number])
                slow.end_with_batch()
                self._assign()
            found = slow.some()
        except (OSError, LookupError) as error:
            raise unreachable(self._kafka, error) from None
        self._next[number] = max(self._next[number], slow.after)
        if slow.is_over:
            slow.close()
            del self._slow[number]
            self._assign()
        return [one for one in found if self._is_within(number, int(one.offset() or 0))]

    def _is_within(self, number: int, offset: int) -> bool:
        """Whether a record belongs to the span."""
        return offset < self._ends.get(number, offset + 1)
