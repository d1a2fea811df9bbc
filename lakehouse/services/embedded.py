"""A service of this machine: what its broker and its database have in common."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol, Self

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.signals import uninterrupted
from lakehouse.services.record import Record

READY_SECONDS = 60
STOP_SECONDS = 15
PROBE_SECONDS = 0.05


class Files(Protocol):
    """The folder of a service, what it logged last, and the record of its process."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    @property
    def record(self) -> Record:
        """Which process serves it."""

    def tail(self) -> str:
        """The end of its log."""


class Embedded:
    """A service of one lake: started here, or adopted if it already runs.

    :meth:`stop` ends one that we started, and leaves an adopted one running. ``address`` is
    where clients find it.
    """

    name: ClassVar[str]
    log: ClassVar[str]
    """Its log, in its folder."""
    stops: ClassVar[Sequence[signal.Signals]] = (signal.SIGTERM,)
    """The signals that end it, the gentlest first."""

    def __init__(
        self, files: Files, address: str, pid: int, process: subprocess.Popen[bytes] | None
    ) -> None:
        self.address, self.pid = address, pid
        self.adopted = process is None
        """Whether another process started it."""
        self._at, self._process = files, process
        self._stop_seconds = STOP_SECONDS

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, and not by us."""
        if self._process is None:
            return self._at.record.running() is None
        return self._process.poll() is not None

    def why_ended(self) -> ServiceUnavailable:
        """The error of one that has ended by itself."""
        return ServiceUnavailable(
            self.name,
            "has ended by itself",
            f"read {self._at.folder}/{self.log}, then start again; its end:\n{self._at.tail()}",
        )

    def not_ready(self, *, is_gone: bool) -> ServiceUnavailable:
        """The error of one that was started here and does not answer."""
        return ServiceUnavailable(
            self.name,
            "ended while starting" if is_gone else f"no answer in {READY_SECONDS} s",
            f"read {self._at.folder}/{self.log}; its end:\n{self._at.tail()}",
        )

    def stop(self) -> None:
        """End the one that we started; leave an adopted one. Calling it twice is harmless."""
        if self._process is None:
            return
        with uninterrupted():
            for number in self.stops:
                self._process.send_signal(number)
                try:
                    self._process.wait(self._stop_seconds)
                    break
                except subprocess.TimeoutExpired:
                    continue
            else:
                self._process.kill()
                self._process.wait()
            self._at.record.forget(self.pid)
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
