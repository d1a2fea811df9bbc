"""Where a group is in the topic of customers, by Kafka's own account of it."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from lakehouse.products.churn.model.span import Span
from lakehouse.settings.kafka_client import unreachable
from lakehouse.settings.sections import KafkaSettings

log = structlog.get_logger("lakehouse")


class GroupOffsets:
    """The offsets of a span's group, asked by a consumer of it; used by one thread.

    KafkaException, or ServiceAway, where the broker does not answer.
    """

    def __init__(
        self, consumer: Consumer, kafka: KafkaSettings, topic: str, topic_id: str, span: Span
    ) -> None:
        self._consumer, self._kafka, self._span = consumer, kafka, span
        self._topic, self._topic_id = topic, topic_id
        self._wait = kafka.request_timeout.total_seconds()
        self.ends: dict[int, int] = {}
        """How far each partition went when it was begun."""

    def partitions(self) -> list[int]:
        """The topic's partitions now."""
        known = self._consumer.list_topics(self._topic, timeout=self._wait)
        return sorted(known.topics[self._topic].partitions)

    def begin(self) -> dict[int, int]:
        """Where each partition is read from: never twice, and what is gone is said."""
        numbers = self.partitions()
        first = self.at(self._span.since, numbers) if self._span.since else {}
        asked = [TopicPartition(self._topic, number) for number in numbers]
        found = {}
        for place in self._committed(asked):
            low, high = self._consumer.get_watermark_offsets(place, timeout=self._wait)
            self.ends[place.partition] = high
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

    def at(self, moment: datetime, numbers: list[int]) -> dict[int, int]:
        """Of each partition the first offset from a Kafka time on; its end where there is none."""
        ms = math.ceil(moment.timestamp() * 1000)
        asked = [TopicPartition(self._topic, number, ms) for number in numbers]
        return {
            place.partition: place.offset
            if place.offset >= 0
            else self._consumer.get_watermark_offsets(place, timeout=self._wait)[1]
            for place in self._consumer.offsets_for_times(asked, timeout=self._wait)
        }

    def taken(self, read: dict[int, int]) -> tuple[list[TopicPartition], Any]:
        """What a transaction takes: offsets that say which topic they are of, and the group."""
        places = [TopicPartition(self._topic, n, at, self._topic_id) for n, at in read.items()]
        return places, self._consumer.consumer_group_metadata()
