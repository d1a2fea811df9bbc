"""What is done to the systems that sinks send to, and to their writers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from lakehouse.core.paths import Lake
from lakehouse.model.sink import KafkaSink
from tests.matrix.driver import Failed
from tests.matrix.faults import running_for
from tests.matrix.stage import PATIENCE, Stage


def killed(stage: Stage) -> None:
    """kill -9 of Postgres while rows come; the flows go on, and it is started again."""
    running_for(stage, 25)
    assert stage.database is not None
    os.kill(stage.database.pid, signal.SIGKILL)
    stage.catch_up()  # bronze and silver do not wait for it
    time.sleep(stage.draw.uniform(0, 5))
    stage.database.stop()
    stage.start_database()
    stage.recover()


def _until_sent(stage: Stage) -> None:
    """Wait until the topics of the sinks have records: a writer that is slow has opened then."""
    deadline = time.monotonic() + PATIENCE
    for flow in stage.product.flows:
        if not isinstance(flow, KafkaSink):
            continue
        topic = stage.environment.get(
            f"LAKEHOUSE_{flow.product}_{flow.setting}".upper(), flow.topic
        )
        while True:
            with suppress(Failed):  # there is no such topic yet
                if any(stage.offsets(topic).values()):
                    break
            if time.monotonic() > deadline:
                raise Failed(f"nothing was sent to {topic} in {PATIENCE:g} s")
            time.sleep(0.1)


def fenced(stage: Stage) -> None:
    """A writer of a topic is stopped, and goes on once another one writes.

    Its lock is removed, as on another machine that has none: the broker keeps it out.
    """
    sinks = [f.name for f in stage.product.flows if isinstance(f, KafkaSink)]
    stage.produce(25)
    old = stage.start(flows=sinks)
    stage.start(flows=[name for name in stage.flows if name not in sinks])
    _until_sent(stage)
    stage.catch_up()
    time.sleep(stage.draw.uniform(2, 4))
    old.process.send_signal(signal.SIGSTOP)
    for name in sinks:
        for lock in Lake(str(stage.root)).locks.glob(f"*{name}*"):
            Path(lock).unlink()
    stage.start(flows=sinks)
    time.sleep(stage.draw.uniform(6, 12))
    old.process.send_signal(signal.SIGCONT)
    stage.produce(10)  # it learns that it is fenced when it has something to send
    try:
        old.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed("two writers of one topic go on side by side") from None
    if "has fenced this one" not in old.log.read_text(errors="replace"):
        raise Failed(f"a writer was not fenced: {old.last_words()}")
    stage.recover()
