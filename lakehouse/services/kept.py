"""An embedded service while a command uses it: started again where it ends by itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.restarts import restarted
from lakehouse.services.broker_files import BrokerFiles
from lakehouse.services.embedded import Embedded
from lakehouse.services.home import known_home
from lakehouse.services.postgres_files import PostgresFiles

LOOK_SECONDS = 0.5


S = TypeVar("S", bound=Embedded)


@contextmanager
def kept(name: str, start: Callable[[], S]) -> Iterator[S]:
    """The service that ``start`` gives; where it ends, another one in its place.

    Where that is no use the command is stopped as if told to, and the error raised at the
    end: its clients would wait for nothing.
    """
    running, done = [start()], threading.Event()
    failed: list[Exception] = []

    def serve() -> None:
        if running[0].has_ended:
            running[0] = _again(name, running[0], start)
        while not done.wait(LOOK_SECONDS):
            if running[0].has_ended:
                raise running[0].why_ended()

    def watch() -> None:
        try:
            restarted(name, serve, done)
        except Exception as error:  # noqa: BLE001  # raised again at the end
            failed.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, name=f"keep {name}", daemon=True)
    thread.start()
    try:
        yield running[0]
    finally:
        done.set()
        thread.join()
        running[0].stop()
        if failed:
            raise failed[0]


def _again(name: str, ended: S, start: Callable[[], S]) -> S:
    """Another one where clients look for it."""
    ended.stop()
    found = start()
    if found.address != ended.address:
        found.stop()
        raise ServiceUnavailable(
            name,
            f"has ended, and another program listens on {ended.address} now",
            "start the command again: it takes another port",
        )
    return found


def refuse_killed(root: Path) -> None:
    """ServiceUnavailable where a service of this lake ended without being told to.

    For who only asks: to start it again would hide that it was away.
    """
    home = known_home(root)
    for name, record in (
        ("Kafka", BrokerFiles(home / "kafka").record),
        ("Postgres", PostgresFiles(home / "postgres").record),
    ) if home else ():  # fmt: skip
        if record.path.exists() and record.running() is None:
            raise ServiceUnavailable(
                f"embedded {name}",
                "has ended by itself, or was killed",
                "start what uses it, as in: lakehouse up; then ask again",
            )
