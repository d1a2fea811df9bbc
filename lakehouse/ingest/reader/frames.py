"""What the reader's process sends to the driver: frames of rows, faults, and that it is at work."""

from __future__ import annotations

import time
from threading import Lock
from typing import Any, BinaryIO

import msgspec

from lakehouse.ingest.reader import BUSY, FAULT, HEAD, Fault

_WORK = 0.25
"""Seconds of a processor in one second that are work, and no waiting."""


class Frames:
    """The pipe to the driver; any thread may write a frame."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._writing = out, Lock()
        self.turn = -1
        """The turn that frames are of; below 0 before the driver has assigned anything."""

    def rows(self, partition: int, after: int, size: int, payload: Any) -> None:
        """Encoded rows, if any: all of the partition below ``after`` is sent then."""
        self._write(HEAD.pack(self.turn, partition, after, size, len(payload)), payload)

    def fault(self, kind: str, text: str, partition: int = FAULT) -> None:
        """What the client met."""
        told = msgspec.json.encode(Fault(kind, text, partition))
        self._write(HEAD.pack(self.turn, FAULT, 0, 0, len(told)), told)

    def say_busy(self) -> None:
        """For as long as the process lives, say each second whether it works."""
        before = time.process_time()
        while True:
            time.sleep(1)
            if (now := time.process_time()) > before + _WORK:
                self.fault(BUSY, "")
            before = now

    def _write(self, head: bytes, payload: Any) -> None:
        with self._writing:
            self._out.write(head)
            self._out.write(payload)
            self._out.flush()
