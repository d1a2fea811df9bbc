"""What an open dashboard costs the flows: their freshness with viewers and without, in turns."""

from __future__ import annotations

import http.client
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.freshness import Latencies, freshness
from bench.process import python
from bench.report import Target

VIEWERS, TURN_SECONDS = 10, 30
_ASKED = ("/api/lake", "/api/product/sales")
_EVERY = 2
"""Seconds between what a page asks twice, as api.js has it."""
_MOST = 1.03


@dataclass(frozen=True)
class Viewed:
    """Waits from Kafka to silver in seconds: while nobody looks, and while viewers do."""

    rate: int
    alone: Latencies
    viewed: Latencies
    answers: int

    def cost(self, percent: float) -> float:
        """What a percentile is with viewers, of what it is without."""
        return float(np.percentile(self.viewed, percent) / np.percentile(self.alone, percent))


@dataclass
class _Turns:
    """Viewers who come at every other turn; when they were there, in seconds since 1970."""

    port: int
    say: Callable[[str], None]
    spans: list[tuple[float, float]] = field(default_factory=list)
    answers: int = 0
    _began: float = field(default_factory=time.monotonic)
    _threads: list[threading.Thread] = field(default_factory=list)
    _gone: threading.Event = field(default_factory=threading.Event)

    def second(self, _: float) -> None:
        """Let viewers come or go where their turn has come or is over."""
        theirs = int((time.monotonic() - self._began) / TURN_SECONDS) % 2 == 1
        if theirs and not self._threads:
            self._gone.clear()
            self._threads = [threading.Thread(target=self._view) for _ in range(VIEWERS)]
            self.spans.append((time.time(), float("inf")))
            for thread in self._threads:
                thread.start()
        elif not theirs and self._threads:
            self.end()

    def end(self) -> None:
        """All of them go."""
        self._gone.set()
        for thread in self._threads:
            thread.join()
        if self._threads:
            self.spans[-1] = (self.spans[-1][0], time.time())
        self._threads = []

    def _view(self) -> None:
        tags: dict[str, str] = {}
        while not self._gone.is_set():
            for path in _ASKED:
                client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                known = {"If-None-Match": tags[path]} if path in tags else {}
                try:
                    client.request("GET", path, headers=known)
                    answer = client.getresponse()
                    answer.read()
                except OSError:
                    continue  # it has not begun
                finally:
                    client.close()
                tags[path] = answer.getheader("ETag") or ""
                self.answers += 1
            self._gone.wait(_EVERY)


def viewed(
    root: Path,
    environment: Mapping[str, str],
    rate: int,
    minutes: float,
    port: int,
    say: Callable[[str], None],
) -> Viewed:
    """Run sales' flows under a steady load; half of the time a dashboard has its viewers."""
    turns = _Turns(port, say)
    with _dashboard(root, environment, port):
        try:
            found = freshness(root, environment, rate, minutes, turns.second)
        finally:
            turns.end()
    times, waits = found.times, found.waits
    theirs = np.zeros(len(times), np.bool_)
    for came, went in turns.spans:
        theirs |= (times >= came) & (times < went)
    return Viewed(rate, waits[~theirs], waits[theirs], turns.answers)


@contextmanager
def _dashboard(root: Path, environment: Mapping[str, str], port: int) -> Iterator[None]:
    """A dashboard of this lake, which need not be there yet."""
    words = python("lakehouse", "dashboard", "--root", str(root), "--port", str(port))
    served = subprocess.Popen(
        words, env={**os.environ, **environment},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        served.terminate()
        served.wait(30)


def viewed_targets(found: Viewed) -> list[Target]:
    """What viewers may cost."""
    return [
        (
            f"{VIEWERS} viewers cost silver's freshness at most 3 %",
            f"p50 {found.cost(50):.3f}, p95 {found.cost(95):.3f}",
            found.cost(95) <= _MOST,
        )
    ]
