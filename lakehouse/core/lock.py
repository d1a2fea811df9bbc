"""One writer process a table: the kernel's file lock, which a kill -9 releases too."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lakehouse.core.errors import ServiceUnavailable, TableLocked


@contextmanager
def write_locks(folder: Path, tables: list[str], holder: str, wait: timedelta) -> Iterator[None]:
    """Hold the writer locks of these tables, or raise TableLocked naming who does."""
    with ExitStack() as stack:
        for table in sorted(tables):
            stack.enter_context(_lock(folder / f"{table}.lock", table, holder, wait))
        yield


@contextmanager
def _lock(path: Path, table: str, holder: str, wait: timedelta) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ServiceUnavailable(
            str(path.parent), f"cannot be written: {error.strerror}", "mend the folder's rights"
        ) from None
    try:
        deadline = time.monotonic() + wait.total_seconds()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TableLocked(
                        table,
                        f"is being written by {_holder(descriptor)}",
                        "stop that process, or wait for it: a table has one writer",
                    ) from None
                time.sleep(0.1)
        note = {
            "flow": holder,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0))
        return f"{note['flow']}, process {note['pid']} on {note['host']} since {note['since']}"
    except (ValueError, KeyError):
        return "another process"
