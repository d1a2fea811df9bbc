"""Which process serves: a file that is believed only while that process is our own.

Process ids are reused, and a file may be older than the machine's last start. So a process counts
only where it was born when the file says, runs as this user or the service's own, and has the
service's own words on its command line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lakehouse.core.files import write_whole

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOOKS, _MOMENT = 50, 0.02
"""How often, and seconds between, a process without a command line is looked at."""


@dataclass(frozen=True)
class Serving:
    """A process that serves, and where it listens."""

    pid: int
    port: int


@dataclass(frozen=True)
class Record:
    """The file; ``words`` end the command line of the process that it may name."""

    path: Path
    words: Sequence[str]
    user: int
    """Whose process it is, by number."""

    def running(self) -> Serving | None:
        """The process that was recorded last; None where it has ended, or another has its id."""
        try:
            state = json.loads(self.path.read_text("utf-8"))
            found = Serving(int(state["pid"]), int(state["port"]))
            process = psutil.Process(found.pid)
            is_own = (
                state["born"] == _birth(found.pid)
                and process.uids().real == self.user
                and _words(process)[-len(self.words) :] == [*self.words]
            )
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None
        return found if is_own else None

    def remember(self, pid: int, port: int) -> None:
        """Record a process that we have just started, and where it listens."""
        state = {"pid": pid, "port": port, "born": _birth(pid)}
        write_whole(self.path, json.dumps(state).encode(), 0o600)

    def forget(self, pid: int) -> None:
        """Remove the record if it is still of this process: a later one keeps its own."""
        try:
            if json.loads(self.path.read_text("utf-8"))["pid"] == pid:
                self.path.unlink(missing_ok=True)
        except (OSError, ValueError, KeyError, TypeError):
            return


def _words(process: psutil.Process) -> list[str]:
    """Its command line; of a process that begins just now, once the system knows it."""
    for _ in range(_LOOKS):
        if words := process.cmdline():
            return words
        time.sleep(_MOMENT)
    return []


def _birth(pid: int) -> str:
    """The start of the machine and the tick of it at which a process began: no clock moves it."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
        return f"{_BOOT.read_text('utf-8').strip()} {ticks}"
    except FileNotFoundError:
        return f"{psutil.Process(pid).create_time():.0f}"  # a system without /proc
