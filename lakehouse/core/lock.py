"""One writer process a table: the kernel's file lock, which a kill -9 releases too.

The lock is the kernel's; the file's text only says who took it last, and may be
that of a process that was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from lakehouse.core.errors import ServiceUnavailable, TableDamaged, TableLocked
from lakehouse.core.paths import check_restored
from lakehouse.core.within import Within, open_own

_TO_SIGN = 1.0
"""Seconds that a process may take from having a lock to having written its name there."""


@contextmanager
def one_at_a_time(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file; without ``wait``, whether it was free. A kill -9 releases it."""
    handle = open_own(path.parent, path.name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with os.fdopen(handle, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def write_locks(
    folder: Path, tables: Iterable[str], holder: str, wait: timedelta, *, mends: bool = False
) -> Iterator[None]:
    """Hold the writer locks of these tables, or raise TableLocked naming who does.

    TableDamaged in a lake whose restore was cut, but for who ``mends`` it.
    """
    with ExitStack() as stack:
        for table in sorted(tables):
            stack.enter_context(_lock(folder / f"{table}.lock", table, holder, wait))
        if not mends:
            check_restored(folder.parent)
        yield


@contextmanager
def _lock(path: Path, table: str, holder: str, wait: timedelta) -> Iterator[None]:
    try:
        root, name = path.parent.parent, f"{path.parent.name}/{path.name}"
        descriptor = open_own(root, name, os.O_RDWR | os.O_CREAT)
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
        with suppress(OSError):  # a full disk takes no name; the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Who holds the lock; a name that a killed process left does not count."""
    deadline = time.monotonic() + _TO_SIGN
    while time.monotonic() < deadline:
        try:
            note = json.loads(os.pread(descriptor, 4096, 0))
            if _may_run(int(note["pid"]), str(note["host"]), str(note["since"])):
                return (
                    f"{note['flow']}, process {note['pid']} on {note['host']} since {note['since']}"
                )
        except (ValueError, KeyError, TypeError):
            pass  # not signed yet
        time.sleep(0.05)
    return "another process, which left no name"


def holder_of(path: Path) -> str:
    """The flow that has signed a lock file and may still run; empty where there is none.

    It only reads: to try the lock would refuse it to a writer that comes meanwhile.
    """
    try:
        note = json.loads(Within(path.parent, path.name).read().read(4096))
        runs = _may_run(int(note["pid"]), str(note["host"]), str(note["since"]))
        return str(note["flow"]) if runs else ""
    except (OSError, ValueError, KeyError, TypeError, TableDamaged):
        return ""


def _may_run(pid: int, host: str, since: str) -> bool:
    """Whether a process that signed then may still run: not one of this host that has ended."""
    if host != socket.gethostname():
        return True
    try:
        process = psutil.Process(pid)
        started, status = process.create_time(), process.status()
    except psutil.Error:
        return False
    signed = datetime.fromisoformat(since).timestamp() + 1
    return started <= signed and status != psutil.STATUS_ZOMBIE
