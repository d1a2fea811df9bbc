"""Records → Kafka, in the order given; and which keys the topic already has."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.partitioner import murmur2

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.settings.kafka_client import client_options, ensure_topic, unreachable
from lakehouse.settings.sections import CapturedSettings
from lakehouse.settings.settings import Settings
from producers.sending import make_producer

IN_FLIGHT = 20_000
"""Most records that wait for their acknowledgement."""
BEAT_SECONDS = 1.0


@dataclass
class Sink:
    """One product's topic. Every record's key finds its partition as any Kafka client's does."""

    settings: Settings
    product: CapturedSettings
    contract: str
    """As every record's header says it: ``shop/1``."""
    beat: Callable[[], None] = lambda: None
    """Called about once a second while Kafka is waited for."""
    sent: int = 0
    acknowledged: int = 0
    error: str = ""

    def __post_init__(self) -> None:
        """Make the topic where it is missing, and connect."""
        self.topic_id = ensure_topic(self.settings.kafka, self.product)
        patience = int(self.settings.postgres.patience.total_seconds() * 1000)
        least = int(self.settings.kafka.request_timeout.total_seconds() * 1000) + 1_000
        self._producer = make_producer(
            self.settings, delivery_timeout_ms=max(patience, least), max_block_ms=patience
        )
        self._partitions = len(self._producer.partitions_for(self.product.topic) or [0])
        self._header = ("contract", self.contract.encode())

    def send(self, key: bytes, value: bytes | None, *headers: tuple[str, bytes]) -> None:
        """Hand one record over; waits while too many are unacknowledged."""
        self.sent += 1
        try:
            self._producer.send(
                self.product.topic, value, key=key, headers=[self._header, *headers],
                partition=(murmur2(key) & 0x7FFFFFFF) % self._partitions,
            ).add_callback(self._took).add_errback(self._failed)  # fmt: skip
        except KafkaError as error:
            self._failed(error)
        if self.sent - self.acknowledged > IN_FLIGHT:
            self._wait(IN_FLIGHT // 2)
        self._check()

    def settle(self) -> None:
        """Wait until Kafka has acknowledged everything; ServiceUnavailable where it will not."""
        self._wait(0)

    def _wait(self, most: int) -> None:
        beaten = time.monotonic()
        while self.sent - self.acknowledged > most:
            self._check()
            if time.monotonic() - beaten > BEAT_SECONDS:
                self.beat()
                beaten = time.monotonic()
            time.sleep(0.002)
        self._check()

    def _check(self) -> None:
        if self.error:
            raise ServiceUnavailable(
                f"topic {self.product.topic} at {self.settings.kafka.bootstrap_servers}",
                f"did not take a change: {self.error}",
                "mend the broker or the topic and start again: nothing is lost, the database "
                "keeps what is not acknowledged",
            )

    def _took(self, _: Any) -> None:  # called by the client's one sending thread
        self.acknowledged += 1

    def _failed(self, error: Any) -> None:
        self.error = self.error or f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Send nothing more; what is unacknowledged is dropped, and will be sent again."""
        if self.acknowledged < self.sent:
            self._producer._sender.force_close()  # close() alone would wait for a lost broker
        self._producer.close(timeout=5)

    def live_keys(self, columns: tuple[str, ...]) -> dict[bytes, dict[str, Any]]:
        """Keys of these columns whose last record is not a tombstone: what consumers take to exist.

        Reads the topic whole, in memory by keys: for a new snapshot only.
        """
        try:
            consumer = KafkaConsumer(
                **client_options(self.settings.kafka),
                isolation_level="read_committed",
                enable_auto_commit=False,
            )
        except (KafkaError, OSError, ValueError) as error:
            raise unreachable(self.settings.kafka, error) from None
        try:
            parts = [TopicPartition(self.product.topic, p) for p in range(self._partitions)]
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends = consumer.end_offsets(parts)
            live: dict[bytes, dict[str, Any]] = {}
            heard, patience = time.monotonic(), self.settings.postgres.patience.total_seconds()
            # a position is None while the broker is away
            while any((consumer.position(part) or 0) < ends[part] for part in parts):
                self.beat()
                batches = consumer.poll(timeout_ms=500)
                for record in itertools.chain.from_iterable(batches.values()):
                    live.pop(record.key, None)
                    key = _key(record.key, columns) if record.value is not None else None
                    if key is not None:
                        live[record.key] = key
                if batches:
                    heard = time.monotonic()
                elif time.monotonic() - heard > patience:
                    raise KafkaTimeoutError(f"nothing read in {patience:g} s")
            return live
        except KafkaError as error:
            raise unreachable(self.settings.kafka, error) from None
        finally:
            consumer.close()


def _key(data: bytes | None, columns: tuple[str, ...]) -> dict[str, Any] | None:
    """A record's key, where it is one of ours."""
    try:
        key = msgspec.json.decode(data or b"", type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
    return key if tuple(key) == columns else None
