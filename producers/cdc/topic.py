"""Reads the capture's own topic: which rows it says there are, and who wrote it last.

The changes of a key are ordered by the generation of their snapshot first. So a capture
must know the greatest in the topic: a new snapshot is above it, and a capture that finds
a greater one than its own would send what every reader takes for older.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from lakehouse.settings.kafka_client import client_options, offsets_by, unreachable
from lakehouse.settings.settings import Settings

Ranges = Mapping[int, tuple[int, int]]
"""Partition → the offsets from, and before which, to read."""


@dataclass
class Known:
    """What a topic says."""

    live: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    """The keys whose last record is no tombstone: the rows that exist for consumers."""
    marked: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    """The keys whose last record marks a change that was too large."""
    greatest: int = 0
    """The greatest generation of a change."""
    expired: int = 0
    """How many records the topic has no more."""


class _Source(msgspec.Struct, gc=False):
    sequence: str


class _Change(msgspec.Struct, gc=False):
    source: _Source
    oversized: dict[str, Any] | None = None


_CHANGE = msgspec.json.Decoder(_Change)
_SEQUENCE = msgspec.json.Decoder(list[str])


@dataclass(frozen=True)
class TopicReader:
    """Reads parts of one topic. ServiceAway where the broker is, soon: who captures waits."""

    settings: Settings
    topic: str
    beat: Callable[[], None]
    """Called between two reads."""

    def ends(self) -> dict[int, int]:
        """Each partition's next offset."""
        with self._consumer() as consumer:
            parts = self._parts(consumer)
            ends = offsets_by(consumer.end_offsets, parts, self.settings.kafka)
            return {part.partition: end for part, end in ends.items()}

    def all(self, columns: tuple[str, ...]) -> tuple[Known, dict[int, int]]:
        """The whole topic, with the keys of these columns in memory; and its ends."""
        known = Known()
        with self._consumer() as consumer:
            parts = self._parts(consumer)
            first = offsets_by(consumer.beginning_offsets, parts, self.settings.kafka)
            last = offsets_by(consumer.end_offsets, parts, self.settings.kafka)
        known.expired = sum(first.values())
        ranges = {part.partition: (first[part], last[part]) for part in parts}
        for record in self._records(ranges):
            known.greatest = max(known.greatest, generation_of(record))
            known.live.pop(record.key, None)
            known.marked.pop(record.key, None)
            key = _key(record.key, columns) if record.value is not None else None
            if key is not None:
                known.live[record.key] = key
                if _is_mark(record.value):
                    known.marked[record.key] = key
        return known, {partition: end for partition, (_, end) in ranges.items()}

    def greatest(self, ranges: Ranges) -> int:
        """The greatest generation of the changes in these ranges."""
        return max(map(generation_of, self._records(ranges)), default=0)

    def _records(self, ranges: Ranges) -> Iterator[Any]:
        wanted = {
            TopicPartition(self.topic, partition): span
            for partition, span in ranges.items() if span[0] < span[1]
        }  # fmt: skip
        if not wanted:
            return
        with self._consumer() as consumer:
            consumer.assign(list(wanted))
            first = offsets_by(consumer.beginning_offsets, wanted, self.settings.kafka)
            for part, (start, _) in wanted.items():
                consumer.seek(part, max(start, first[part]))
            heard, longest = time.monotonic(), self.settings.kafka.request_timeout.total_seconds()
            # a position is None while the broker is away
            while any((consumer.position(part) or 0) < end for part, (_, end) in wanted.items()):
                self.beat()
                batches = consumer.poll(timeout_ms=500)
                for record in itertools.chain.from_iterable(batches.values()):
                    if record.offset < ranges[record.partition][1]:
                        yield record
                if batches:
                    heard = time.monotonic()
                elif time.monotonic() - heard > longest:
                    raise KafkaTimeoutError(f"nothing read in {longest:g} s")

    def _parts(self, consumer: KafkaConsumer) -> list[TopicPartition]:
        there = consumer.partitions_for_topic(self.topic) or set()
        return [TopicPartition(self.topic, partition) for partition in sorted(there)]

    @contextmanager
    def _consumer(self) -> Iterator[KafkaConsumer]:
        try:
            with closing(
                KafkaConsumer(
                    **client_options(self.settings.kafka),
                    isolation_level="read_committed",
                    enable_auto_commit=False,
                )
            ) as consumer:
                yield consumer
        except (KafkaError, OSError, ValueError) as error:
            raise unreachable(self.settings.kafka, error) from None


def generation_of(record: Any) -> int:
    """The snapshot that a record's change belongs to; 0 where it is no change of a capture."""
    try:
        if record.value is None:
            given = dict(record.headers or ()).get("sequence") or b""
        else:
            given = _CHANGE.decode(record.value).source.sequence
        return int(_SEQUENCE.decode(given)[0])
    except (msgspec.MsgspecError, ValueError, IndexError):
        return 0


def _is_mark(value: bytes) -> bool:
    """Whether a record only marks the place of a change that was too large."""
    try:
        return _CHANGE.decode(value).oversized is not None
    except msgspec.MsgspecError:
        return False


def _key(data: bytes | None, columns: tuple[str, ...]) -> dict[str, Any] | None:
    """A record's key, if its columns are these; else None."""
    try:
        key = msgspec.json.decode(data or b"", type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
    return key if tuple(key) == columns else None
