"""``lakehouse up`` on its way out: the sources end first, then the flows, once all has landed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import structlog

from lakehouse.core.errors import LakehouseError
from lakehouse.explorer.status import Broker, waiting
from lakehouse.model.flow import BronzeFlow, Flow
from lakehouse.settings.settings import Settings

_EVERY = 0.2
log = structlog.get_logger("lakehouse")


def say_landing() -> None:
    """Log that the stop was received, and what it waits for."""
    log.info("stopping: what was sent is landed first; Ctrl-C again ends at once")


@contextmanager
def landed_first(
    flows: Sequence[Flow], settings: Settings, stop: threading.Event, sent: Callable[[], None]
) -> Iterator[threading.Event]:
    """A stop for flows: set after ``stop``, once bronze has what Kafka has then.

    ``sent`` waits for the sources to end. All of it takes no longer than [stream] stop_timeout;
    a broker that is away, a damaged log, or flows that end by themselves, end it at once.
    """
    after, over = threading.Event(), threading.Event()

    def follow() -> None:
        stop.wait()
        try:
            sent()
            if not over.is_set():
                _land([f for f in flows if isinstance(f, BronzeFlow)], settings, over)
        except LakehouseError as error:
            log.warning("nobody can tell whether all has landed", place=error.place,
                        reason=error.fault, fix=error.remedy)  # fmt: skip
        finally:
            after.set()

    thread = threading.Thread(target=follow, name="landed-first")
    thread.start()
    try:
        yield after
    finally:
        over.set()
        stop.set()
        thread.join()


def _land(bronze: Sequence[BronzeFlow], settings: Settings, over: threading.Event) -> None:
    deadline = time.monotonic() + settings.stream.stop_timeout.total_seconds()
    with closing(Broker()) as broker:
        broker.use(settings.kafka)
        while left := sum(waiting(f, settings, broker) or 0 for f in bronze):
            if time.monotonic() > deadline:
                log.warning("records wait in Kafka: the next start lands them", records=left)
                return
            if over.wait(_EVERY):
                return
    log.info("all that was sent has landed")
