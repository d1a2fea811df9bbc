"""A topic as its broker has it now: its id, and which offsets each partition holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from lakehouse.core import codecs
from lakehouse.ingest import unpacked
from lakehouse.settings.kafka_client import (
    admin,
    answering,
    client_options,
    offsets_by,
    unreachable,
)
from lakehouse.settings.sections import KafkaSettings

codecs.install()
unpacked.install()


@dataclass(frozen=True)
class Topic:
    """A topic's id, and of each partition the first offset held and the next one to come.

    The next one is that of a reader of committed records.
    """

    name: str
    id: str
    ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict)


class TopicReader:
    """Reads one topic's id and ranges, again and again over the same connections."""

    def __init__(self, kafka: KafkaSettings, name: str) -> None:
        self._kafka, self._name = kafka, name
        self._admin = admin(kafka)
        try:
            self._consumer = consumer(kafka, "read_committed")
        except (KafkaError, OSError) as error:
            self._admin.close()
            raise unreachable(kafka, error) from None

    def id(self) -> str | None:
        """The topic's id now; None where the broker has none of this name.

        Raises ServiceUnavailable.
        """
        described = self._described()
        return str(described["topic_id"]) if described else None

    def read(self) -> Topic | None:
        """The topic now; None where the broker has none of this name.

        Raises ServiceUnavailable.
        """
        if not (described := self._described()):
            return None
        numbers = [p["partition_index"] for p in described["partitions"]]
        partitions = [TopicPartition(self._name, number) for number in numbers]
        with answering(self._kafka):
            first = offsets_by(self._consumer.beginning_offsets, partitions, self._kafka)
            after = offsets_by(self._consumer.end_offsets, partitions, self._kafka)
        ranges = {p.partition: (int(first[p]), int(after[p])) for p in partitions}
        return Topic(self._name, str(described["topic_id"]), ranges)

    def _described(self) -> dict[str, Any] | None:
        with answering(self._kafka):
            described = self._admin.describe_topics([self._name])
        return next((t for t in described if t.get("error_code", 0) == 0), None)

    def close(self) -> None:
        """End the connections."""
        self._admin.close()
        self._consumer.close()

    def __enter__(self) -> TopicReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def consumer(
    kafka: KafkaSettings, isolation: str, fetch_bytes: int = 256 * 1024, reset: str = "earliest"
) -> Any:
    """A consumer of no group that begins at the earliest record."""
    return KafkaConsumer(
        **client_options(kafka),
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset=reset,
        max_poll_records=5_000,
        max_partition_fetch_bytes=fetch_bytes,
        fetch_max_wait_ms=50,  # an answer that waits for new records holds up what is sought
    )
