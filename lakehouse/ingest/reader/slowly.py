"""What the C client cannot read, read by Python: odd headers, batches that unpack to too much.

Seldom needed: kafka-python is loaded by the first call, and the process starts sooner without.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message

from lakehouse.ingest.reader import Start

if TYPE_CHECKING:
    from lakehouse.settings.sections import KafkaSettings


def headers_by_python(
    kafka: KafkaSettings, topic: str, partition: int, offsets: Sequence[int]
) -> Sequence[Any]:
    """Headers as kafka-python reads them, with U+FFFD for what is no UTF-8 in their names."""
    # seldom: the process starts sooner without them
    from kafka import TopicPartition  # noqa: PLC0415

    from lakehouse.ingest.topic import consumer  # noqa: PLC0415

    place, wanted = TopicPartition(topic, partition), set(offsets)
    found: dict[int, Any] = {}
    with closing(consumer(kafka, "read_committed")) as python:
        python.assign([place])
        python.seek(place, offsets[0])
        while python.position(place) <= offsets[-1]:  # the driver's patience bounds it
            for record in python.poll(timeout_ms=100).get(place, ()):
                if record.offset in wanted:
                    found[record.offset] = record.headers
    return [found.get(offset) for offset in offsets]


class Slowly:
    """The records of a partition from an offset on, unpacked one after the other.

    Calls raise OSError where Kafka does not answer, LookupError where it has not the offset.
    """

    def __init__(self, start: Start, partition: int, first: int) -> None:
        """``first``: the offset; below 0 the first that there is."""
        from kafka import TopicPartition  # noqa: PLC0415

        from lakehouse.ingest import unpacked  # noqa: PLC0415
        from lakehouse.ingest.topic import consumer  # noqa: PLC0415

        unpacked.install(start.largest)
        kafka: KafkaSettings = pickle.loads(start.settings)  # noqa: S301  # from the driver
        self._place, self._batch_end = TopicPartition(start.topic, partition), unpacked.batch_end
        self._end: int | None = None
        self._ends_with_batch = False
        self.after = first
        """The offset to go on with."""
        with _as_os_error():
            self._consumer = consumer(kafka, "read_committed", fetch_bytes=1, reset="none")
            self._consumer.assign([self._place])
            if first < 0:
                self._consumer.seek_to_beginning(self._place)
            else:
                self._consumer.seek(self._place, first)

    def end_with_batch(self) -> None:
        """Be over after the batch that holds the next record."""
        self._ends_with_batch = True

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to read in this way."""
        return self._end is not None and self.after >= self._end

    def some(self) -> list[Message]:
        """Some more records, of few batches; none where none came in a moment."""
        with _as_os_error():
            found = self._consumer.poll(timeout_ms=100).get(self._place, [])
            self.after = max(self.after, self._consumer.position(self._place))
        if found and self._ends_with_batch and self._end is None:
            self._end = self._batch_end(found[0])
        return [_message(record) for record in found]

    def close(self) -> None:
        """End the connections."""
        self._consumer.close()


@contextmanager
def _as_os_error() -> Iterator[None]:
    from kafka.errors import (  # noqa: PLC0415
        KafkaError,
        NoOffsetForPartitionError,
        OffsetOutOfRangeError,
    )

    try:
        yield
    except (NoOffsetForPartitionError, OffsetOutOfRangeError) as error:
        raise LookupError(str(error)) from None
    except KafkaError as error:
        raise OSError(str(error)) from None


def _message(record: Any) -> Message:
    return Message(
        topic=record.topic, partition=record.partition, offset=record.offset, key=record.key,
        value=record.value, headers=record.headers, timestamp=(1, record.timestamp),
    )  # fmt: skip
