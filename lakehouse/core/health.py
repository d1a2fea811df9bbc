"""Whether this process does its work: which flows run, and which services it waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lakehouse.core.metrics import RETRIES, RUNNING, SERVICE_UP, service_of


class Health:
    """Told by flows as they go; asked by ``/health/ready``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flows: dict[str, bool] = {}
        self._away: dict[str, str] = {}

    @contextmanager
    def running(self, flows: Iterable[str]) -> Iterator[None]:
        """Around flows that run."""
        names = [*flows]
        self._say(names, is_running=True)
        try:
            yield
        finally:
            self._say(names, is_running=False)

    def _say(self, names: list[str], *, is_running: bool) -> None:
        with self._lock:
            for name in names:
                self._flows[name] = is_running
                RUNNING.labels(name).set(is_running)

    def away(self, place: str, fault: str) -> None:
        """A service does not answer, and is waited for."""
        service = service_of(place)
        RETRIES.labels(service).inc()
        SERVICE_UP.labels(service).set(0)
        with self._lock:
            self._away[service] = f"{place}: {fault}"

    def back(self, place: str) -> None:
        """It answers again."""
        service = service_of(place)
        SERVICE_UP.labels(service).set(1)
        with self._lock:
            self._away.pop(service, None)

    def faults(self) -> list[str]:
        """Why this process is not ready; empty where it is."""
        with self._lock:
            ended = [f"{name} does not run" for name, runs in self._flows.items() if not runs]
            starting = [] if self._flows else ["no flow runs yet"]
            return [*starting, *ended, *self._away.values()]


HEALTH = Health()
