"""The topic of customers, read by the C client; what that cannot unpack, by Python.

Of a batch many records are read and decoded ahead, by a process of their own.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from functools import partial

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from lakehouse.ingest.decode import decode_batch
from lakehouse.ingest.reader import Start
from lakehouse.ingest.reader.records import as_rows, by_partition
from lakehouse.ingest.reader.slowly import Slowly, headers_by_python
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.churn.contract import CUSTOMERS
from lakehouse.products.churn.model.ahead import Ahead
from lakehouse.products.churn.model.offsets import GroupOffsets
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


def started(settings: Settings, span: Span, rules: TimeRules) -> Start:
    """What a reader of the topic of customers is started with."""
    kafka = settings.kafka
    options = {**reader_options(kafka), "group.id": span.group}
    return Start(
        options, pickle.dumps(kafka), churn_of(settings).topic, CUSTOMERS, rules,
        largest=settings.bronze.max_record_mb * _MIB, ahead=0,
    )  # fmt: skip


class Reading:
    """The topic's records from where a group is on; used by one thread.

    KafkaException, or ServiceAway, where the broker does not answer.
    """

    def __init__(
        self, settings: Settings, span: Span, start: Start, topic_id: str, ahead: Ahead | None
    ) -> None:
        """``ahead`` reads a batch that is large; a small one lets it go."""
        kafka = settings.kafka
        self._kafka, self._topic_id = kafka, topic_id
        self._churn = churn_of(settings)
        self._topic = self._churn.topic
        self._lost = ""
        self._start = start
        self._slow: dict[int, Slowly | None] = {}
        """Partitions with a batch that the C client does not unpack."""
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._looked = time.monotonic()
        self._ahead: Ahead | None = None
        self._consumer = Consumer({**start.kafka, **_READ, "error_cb": self._met})
        self.offsets = GroupOffsets(self._consumer, kafka, self._topic, topic_id, span)
        try:
            self._next = self.offsets.begin()
            self._ends = self.offsets.at(span.until, [*self._next]) if span.until else {}
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
        known = self.offsets.ends
        return {p: min(known[p], self._ends.get(p, known[p])) for p in self._next}

    def is_outdated(self) -> bool:
        """Whether the topic was recreated, or has more partitions now; asks Kafka now and then.

        In a recreated topic, records below the former offsets would be skipped.
        """
        if time.monotonic() - self._looked < LOOK:
            return False
        self._looked = time.monotonic()
        if ensure_topic(self._kafka, self._churn) != self._topic_id:
            return True
        return len(self.offsets.partitions()) > len(self.offsets.ends)

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
