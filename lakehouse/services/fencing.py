"""A killed broker is fenced before the next one begins, so that no transaction of it is lost.

A transaction whose commit Kafka has acknowledged is ended by markers, which a broker that was
killed has still to write. A node that is broker and controller at once (4.3.0 and 4.4.0, seen)
loads that transaction while it still counts as the leader of its dead self. When its controller
then fences the dead one, no partition has a leader for a moment, the coordinator takes that for
partitions that are deleted, and calls the transaction complete: its records never become visible,
and the group's offsets are never given again.

So where data was not closed, the node runs as a controller alone first, and ends when it has fenced
the dead broker. It also costs less: the session that a return waits for is 0.3 s then, not 4.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

from lakehouse.core.processes import started
from lakehouse.core.signals import uninterrupted
from lakehouse.core.within import rewritten
from lakehouse.services.broker_files import BrokerFiles
from lakehouse.services.embedded import PROBE_SECONDS, READY_SECONDS, STOP_SECONDS

_ACTIVE, _FENCED = "Performing controller activation", "Fencing broker 1"
_MOST = 2.0
"""Seconds after which an active controller has nothing to fence: the dead broker was fenced."""


def fence(files: BrokerFiles, command: Sequence[str], controller: int) -> None:
    """Fence the broker that was killed on these files, if one was; it ends within a minute.

    What goes wrong here the broker itself tells in its start, which follows.
    """
    _end_left_over(files)
    if not files.was_killed:
        return
    files.write_fencer(controller)
    words = [*command, "-Dlog4j2.configurationFile=fence.log4j2.properties"]
    with uninterrupted(), rewritten(files.folder, files.fencer_said.name) as out:
        process = started(
            [*words, "kafka.Kafka", str(files.fencer)],
            cwd=files.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        files.fencing.remember(process.pid, controller)
    try:
        _wait(files, process)
    finally:
        with uninterrupted():
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            files.fencing.forget(process.pid)


def _wait(files: BrokerFiles, process: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    active: float | None = None
    while process.poll() is None:
        said = files.fencer_said.read_text("utf-8", errors="replace")
        now = time.monotonic()
        if active is None and _ACTIVE in said:
            active = now
        if _FENCED in said or now - (active or now) > _MOST or now - began > READY_SECONDS:
            return
        time.sleep(PROBE_SECONDS)


def _end_left_over(files: BrokerFiles) -> None:
    """End a controller whose starter was killed: it holds the data."""
    deadline = time.monotonic() + STOP_SECONDS
    while (found := files.fencing.running()) is not None:
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        with suppress(ProcessLookupError):
            os.kill(found.pid, number)
        time.sleep(PROBE_SECONDS)
