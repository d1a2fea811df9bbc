"""Sinks beside the flows: each in a thread of its own, which waits alone where its system is away.

They hold nothing of the flows: what a sink has not sent is in the lake, however long it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

import structlog
from duckdb import DuckDBPyConnection

from lakehouse.core.errors import DiskFull, ServiceAway, ServiceUnavailable, TableMissing
from lakehouse.core.health import HEALTH
from lakehouse.core.metrics import SINK_ROUNDS
from lakehouse.core.patience import Patience
from lakehouse.model.sink import PostgresSink, SinkFlow
from lakehouse.settings.settings import Settings
from lakehouse.silver.handed import Handed
from lakehouse.sinks.kafka import KafkaWriter
from lakehouse.sinks.postgres import PostgresWriter
from lakehouse.storage.duck import connect
from lakehouse.storage.follower import Stopping

log = structlog.get_logger("lakehouse")


class Sink(Protocol):
    """What sends on what the lake has; used by one thread."""

    name: str

    def catch_up(self) -> object:
        """Send all that there is now; ServiceAway where its system does not answer."""

    def close(self) -> None:
        """Let go of its system."""


def opened(
    flow: SinkFlow,
    settings: Settings,
    connection: DuckDBPyConnection,
    stop: threading.Event,
    handed: Handed,
) -> Sink:
    """The sink of a flow; it asks its system for nothing yet."""
    if isinstance(flow, PostgresSink):
        return PostgresWriter(flow, settings, connection, handed)
    writer = KafkaWriter(flow, settings, connection, handed)
    writer.stop = stop
    return writer


class Sinking:
    """The sinks of one driver, a thread each."""

    def __init__(
        self, sinks: Sequence[Sink], settings: Settings, stop: threading.Event, handed: Handed
    ) -> None:
        self._settings, self._stop, self.handed = settings, stop, handed
        self._last, self._must = threading.Event(), False
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(sink,), name=sink.name) for sink in sinks
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise what ended a sink: waiting would not mend it."""
        if self._error is not None:
            raise self._error

    def finish(self, *, must: bool) -> None:
        """Send what there is now, then end; with ``must`` an absent system is waited for."""
        self._must = must
        self._last.set()
        self.handed.ring()
        for thread in self._threads:
            thread.join()
        self.check()

    def _work(self, sink: Sink) -> None:
        try:
            with HEALTH.running([sink.name]):
                self._follow(sink)
        except Stopping:
            log.debug("stopped between two parts", flow=sink.name)
        except BaseException as error:  # noqa: BLE001  # raised by `check`
            self._error = self._error or error
        finally:
            sink.close()

    def _follow(self, sink: Sink) -> None:
        """Send again and again; raises a refusal, but waits where the system had let us in before.

        Who took a right away may give it back, and the flows do not end with it.
        """
        limit, poll = self._settings.services.patience, self._settings.stream.poll
        patience, rung, was_let_in = Patience(limit, self._stop), 0, False
        while True:
            is_last = self._last.is_set()  # asked first: what is there now is sent
            try:
                sink.catch_up()
                patience.progress()
                was_let_in = True
                SINK_ROUNDS.labels(sink.name, "done").inc()
            except TableMissing as missing:
                if is_last and self._must:
                    raise
                log.debug("waiting", flow=sink.name, reason=missing.fault, table=missing.place)
            except ServiceUnavailable as error:
                if not (was_let_in or isinstance(error, ServiceAway)) or isinstance(
                    error, DiskFull
                ):
                    raise
                away = ServiceAway(error.place, error.fault, error.remedy)
                SINK_ROUNDS.labels(sink.name, "away").inc()
                if is_last and not self._must:
                    log.warning("left behind", flow=sink.name, reason=away.fault,
                                fix="it goes on at the next start")  # fmt: skip
                    return
                self._wait(patience, away)
                continue
            if is_last:
                return
            rung = self.handed.wait(rung, poll.total_seconds())

    def _wait(self, patience: Patience, away: ServiceAway) -> None:
        """Wait a moment; while flows run, a sink waits however long it takes."""
        try:
            patience.again(away)
        except ServiceAway:
            if self._must or self._stop.is_set():
                raise
            patience.once_more()


@contextmanager
def sinking(
    flows: Sequence[SinkFlow], settings: Settings, stop: threading.Event
) -> Iterator[Sinking]:
    """The sinks of these flows, at work; they have ended when this does."""
    with ExitStack() as stack:
        sinks: list[Sink] = []
        handed = Handed(table for flow in flows for table in flow.handed)
        if flows:
            connection = stack.enter_context(connect(settings))
            sinks = [opened(flow, settings, connection.cursor(), stop, handed) for flow in flows]
        running = Sinking(sinks, settings, stop, handed)
        running.start()
        try:
            yield running
        finally:
            running.finish(must=False)
