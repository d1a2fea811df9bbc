"""A driver of the crash matrix: the process that a fault acts on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


class Failed(Exception):
    """The try went wrong before its tables could be compared; what happened."""


class Driver:
    """``lakehouse run`` as a process of its own; its narration goes to ``log``."""

    def __init__(self, flows: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.flows, self.log = flows, log
        words = [sys.executable, "-m", "lakehouse", "run", *flows]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                words, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll()

    def jvm(self) -> psutil.Process:
        """Spark's JVM under it."""
        return self._child("java")

    def reader(self) -> psutil.Process:
        """The process that reads ahead for it."""
        return self._child("lakehouse.ingest.reader")

    def _child(self, word: str) -> psutil.Process:
        """The child whose command line has this word, or ends with it."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):  # the one before it was killed, and is not reaped yet
                    if any(part.endswith(word) for part in child.cmdline()):
                        return child
            time.sleep(0.05)
        raise Failed(f"the driver has no {word}")

    def kill(self) -> None:
        """kill -9, and reap."""
        self.process.kill()
        self.process.wait()

    def last_words(self) -> str:
        """The end of its narration, in one line."""
        return " ".join(self.log.read_text(errors="replace").split())[-400:]
