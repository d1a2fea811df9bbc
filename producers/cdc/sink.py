"""Sends records to Kafka in the given order, and notices what others send to its topic."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kafka.errors import KafkaError
from kafka.partitioner import murmur2

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.patience import Answers, Patience
from lakehouse.settings.kafka_client import ensure_topic, message_limit, unreachable
from lakehouse.settings.sections import CapturedSettings
from lakehouse.settings.settings import Settings
from producers.cdc.topic import Known, TopicReader
from producers.sending import make_producer

IN_FLIGHT = 20_000
"""Most records that may wait for an acknowledgement."""
BEAT_SECONDS = 1.0
OVERHEAD = 512
"""Bytes of a batch besides its one record's key and value, at most."""


class TooLarge(Exception):
    """A record for which the topic's limit is too small, also when compressed. Not sent."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size, self.limit = size, limit


@dataclass
class Sink:
    """One product's topic; a key's partition is the one that any Kafka client computes."""

    settings: Settings
    product: CapturedSettings
    contract: str
    """Contract and version for every record's header, as in ``shop/1``."""
    patience: Patience
    """How long an absent broker is waited for."""
    beat: Callable[[], None] = lambda: None
    """Called about once a second during a wait for Kafka."""
    sent: int = 0
    acknowledged: int = 0
    error: str = ""
    ends: dict[int, int] = field(default_factory=dict)
    """Partition → the offset up to which we know who wrote the topic."""
    foreign: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    """Offsets between our own that others took, with their partition."""

    def __post_init__(self) -> None:
        """Create the topic if it is missing, and connect."""
        self.topic_id = ensure_topic(self.settings.kafka, self.product)
        self.limit = message_limit(self.settings.kafka, self.product.topic)
        self._answers = Answers(self.patience, partial(unreachable, self.settings.kafka))
        self._producer = make_producer(
            self.settings, batch_size=min(256 * 1024, self.limit // 2),
            max_request_size=max(self.limit, 8 * 2**20),
        )  # fmt: skip
        self._large: Any = None
        """Compresses; made for the first record that needs it."""
        self._partitions = len(self._producer.partitions_for(self.product.topic) or [0])
        self._header = ("contract", self.contract.encode())

    @property
    def reader(self) -> TopicReader:
        """Reads what the topic has."""
        return TopicReader(self.settings, self.product.topic, self.beat)

    def send(self, key: bytes, value: bytes | None, *headers: tuple[str, bytes]) -> None:
        """Send one record; waits while too many are unacknowledged. Raises TooLarge."""
        size = len(key) + len(value or b"") + OVERHEAD
        if size > self.limit:
            packed = len(gzip.compress(value or b"")) + len(key) + OVERHEAD
            if packed > self.limit:
                raise TooLarge(packed, self.limit)
            self._wait(0)  # two producers, and one order
            self._large = self._large or make_producer(
                self.settings, compression_type="gzip", max_request_size=2**31 - 1
            )
            self._hand(self._large, key, value, headers)
            self._wait(0)
            return
        self._hand(self._producer, key, value, headers)
        if self.sent - self.acknowledged > IN_FLIGHT:
            self._wait(IN_FLIGHT // 2)
        self._check()

    def _hand(
        self, producer: Any, key: bytes, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
    ) -> None:
        self.sent += 1
        try:
            producer.send(
                self.product.topic, value, key=key, headers=[self._header, *headers],
                partition=(murmur2(key) & 0x7FFFFFFF) % self._partitions,
            ).add_callback(self._took).add_errback(self._failed)  # fmt: skip
        except KafkaError as error:
            self._failed(error)

    def settle(self) -> None:
        """Wait until Kafka has acknowledged everything; ServiceUnavailable if it does not."""
        self._wait(0)

    def _wait(self, most: int) -> None:
        beaten = time.monotonic()
        while self.sent - self.acknowledged > most:
            self._check()
            self._answers.look(self.sent, self.acknowledged)
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

    def _took(self, record: Any) -> None:  # only the client's one sending thread calls this
        known = self.ends.get(record.partition, record.offset)
        if record.offset > known:
            self.foreign.append((record.partition, (known, record.offset)))
        if record.offset >= known:
            self.ends[record.partition] = record.offset + 1
        self.acknowledged += 1

    def _failed(self, error: Any) -> None:
        self.error = self.error or f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Send nothing more; the next run sends unacknowledged records again."""
        for producer in filter(None, (self._producer, self._large)):
            if self.acknowledged < self.sent:
                producer._sender.force_close()  # a plain close() would wait for a lost broker
            producer.close(timeout=5)

    def live_keys(self, columns: tuple[str, ...]) -> dict[bytes, dict[str, Any]]:
        """The keys whose last record is no tombstone: the rows that exist for consumers.

        Reads the whole topic, with all keys in memory; only TRUNCATE needs this.
        """
        return self.read(columns).live

    def read(self, columns: tuple[str, ...]) -> Known:
        """What the whole topic says; from here on only what others write is looked at."""
        known, self.ends = self.reader.all(columns)
        self.foreign.clear()
        return known

    def marked(self, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """The keys whose last record marks a change that was too large. Reads the whole topic."""
        return [*self.reader.all(columns)[0].marked.values()]

    def others(self, ends: dict[str, int]) -> int:
        """The greatest generation in what came since ``ends``, but for what is sent from here."""
        now = self.reader.ends()
        since = {p: (ends.get(str(p), end), end) for p, end in now.items()} if ends else {}
        self.ends = now
        return self.reader.greatest(since)

    def between(self) -> int:
        """The greatest generation of what others wrote between our records; 0 for none."""
        found = [self.reader.greatest({p: span}) for p, span in self.foreign]
        self.foreign.clear()
        return max(found, default=0)
