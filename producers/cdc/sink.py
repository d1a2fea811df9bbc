"""Sends records to Kafka in the given order; and finds which keys the topic already has."""

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
"""Most records that may wait for an acknowledgement."""
BEAT_SECONDS = 1.0


@dataclass
class Sink:
    """One product's topic; a key's partition is the one that any Kafka client computes."""

    settings: Settings
    product: CapturedSettings
    contract: str
    """Contract and version for every record's header, as in ``shop/1``."""
    beat: Callable[[], None] = lambda: None
    """Called about once a second during a wait for Kafka."""
    sent: int = 0
    acknowledged: int = 0
    error: str = ""

    def __post_init__(self) -> None:
        """Create the topic if it is missing, and connect."""
        self.topic_id = ensure_topic(self.settings.kafka, self.product)
        patience = int(self.settings.postgres.patience.total_seconds() * 1000)
        least = int(self.settings.kafka.request_timeout.total_seconds() * 1000) + 1_000
        self._producer = make_producer(
            self.settings, delivery_timeout_ms=max(patience, least), max_block_ms=patience
        )
        self._partitions = len(self._producer.partitions_for(self.product.topic) or [0])
        self._header = ("contract", self.contract.encode())

    def send(self, key: bytes, value: bytes | None, *headers: tuple[str, bytes]) -> None:
        """Send one record; waits while too many are unacknowledged."""
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
        """Wait until Kafka has acknowledged everything; ServiceUnavailable if it does not."""
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

    def _took(self, _: Any) -> None:  # only the client's one sending thread calls this
        self.acknowledged += 1

    def _failed(self, error: Any) -> None:
        self.error = self.error or f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Send nothing more; the next run sends unacknowledged records again."""
        if self.acknowledged < self.sent:
            self._producer._sender.force_close()  # a plain close() would wait for a lost broker
        self._producer.close(timeout=5)

    def live_keys(self, columns: tuple[str, ...]) -> dict[bytes, dict[str, Any]]:
        """The keys whose last record is no tombstone: the rows that exist for consumers.

        Reads the whole topic, with all keys in memory; only a new snapshot needs this.
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
    """A record's key, if its columns are these; else None."""
    try:
        key = msgspec.json.decode(data or b"", type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
    return key if tuple(key) == columns else None
