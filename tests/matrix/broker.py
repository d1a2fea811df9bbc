"""The matrix's own Kafka: killed, paused and started again at will."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka, Say


class Broker:
    """A real broker in a folder of its own; its address stays the same from start to start."""

    def __init__(self, folder: Path, say: Say = lambda _: None) -> None:
        cache = default_cache()
        self._folder, self._java = folder, find_java(cache)
        self._jars = kafka_jars(cache, self._java, say)
        self._kafka: EmbeddedKafka | None = None

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it, or start it again; returns when it answers."""
        before = dict(os.environ)
        os.environ.update(environment or {})
        try:
            self._kafka = EmbeddedKafka.start(self._folder, java=self._java, jars=self._jars)
        finally:
            os.environ.clear()
            os.environ.update(before)

    @property
    def servers(self) -> str:
        """host:port."""
        return self._running.bootstrap_servers

    def kill(self) -> None:
        """kill -9, and reap."""
        self.signal(signal.SIGKILL)
        self._running.stop()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._running.pid, number)

    @property
    def _running(self) -> EmbeddedKafka:
        assert self._kafka is not None, "the broker is not started"
        return self._kafka

    def stop(self) -> None:
        """End it; harmless twice."""
        if self._kafka is not None:
            self._kafka.stop()


@contextmanager
def running(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Broker]:
    """A started broker, ended at the end."""
    broker = Broker(folder)
    broker.start(environment)
    try:
        yield broker
    finally:
        broker.stop()
