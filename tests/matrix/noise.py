"""Copies and junk in a topic, whatever its product is: what a source of good events never sends."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from kafka import KafkaConsumer, KafkaProducer

COPIED, JUNK = 40, 50
"""Every so many records one is sent again, and a broken one is sent."""


class Noise(threading.Thread):
    """Follows a topic for about so long, from now on."""

    def __init__(self, servers: str, topic: str, seconds: float) -> None:
        super().__init__(name=f"noise of {topic}", daemon=True)
        self._servers, self._topic, self._until = servers, topic, time.monotonic() + seconds
        self.start()

    def run(self) -> None:
        """Send until the time is over."""
        with (
            closing(self._consumer()) as consumer,
            closing(KafkaProducer(bootstrap_servers=self._servers, acks="all")) as producer,
        ):
            seen = 0
            while time.monotonic() < self._until:
                for batch in consumer.poll(timeout_ms=200).values():
                    for record in batch:
                        seen += 1
                        if seen % COPIED == 0:
                            producer.send(
                                self._topic, record.value, record.key, list(record.headers)
                            )
                        if seen % JUNK == 0:
                            producer.send(self._topic, b'{"broken')
            producer.flush()

    def _consumer(self) -> KafkaConsumer:
        return KafkaConsumer(
            self._topic, bootstrap_servers=self._servers, auto_offset_reset="earliest",
            enable_auto_commit=False, metadata_max_age_ms=500,
        )  # fmt: skip
