"""What is done to a try: each is a function of the stage, and ends with a recovery."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import duckdb
from deltalake import DeltaTable

from lakehouse.core.failpoint import Step
from lakehouse.model.flow import SilverFlow
from tests.matrix.broker import running
from tests.matrix.check import read
from tests.matrix.clock import Clock
from tests.matrix.driver import Failed
from tests.matrix.stage import Skipped, Stage

Act = Callable[[Stage], None]
MID_WRITE = (Step.BRONZE_FILES, Step.COMPACTION_FILES)
HOUR = 3600


def killed_at(step: StrEnum, times: range) -> Act:
    """The driver ends itself as kill -9 would, at a step, the time of reaching it drawn."""

    def act(stage: Stage) -> None:
        stage.produce()
        stage.start(stage.step(step, times))
        stage.expect_kill(stage.driver.process, "the driver")
        if step in MID_WRITE and not stage.lake.orphans():
            raise Failed(f"no file without a commit is left: {stage.driver.last_words()}")
        stage.recover()

    return act


def killed_once(stage: Stage) -> None:
    """kill -9 while it runs, at a time that is drawn."""
    stage.produce(15)
    stage.start()
    time.sleep(stage.draw.uniform(9, 14))
    stage.driver.kill()
    stage.recover()


def killed_at_random(stage: Stage) -> None:
    """kill -9 three times: while it runs, while it starts again, and once it has caught up."""
    stage.produce(seconds=30)
    stage.start()
    time.sleep(stage.draw.uniform(9, 14))
    stage.driver.kill()
    stage.start()
    time.sleep(stage.draw.uniform(0.5, 9))
    stage.driver.kill()
    stage.recover()
    time.sleep(stage.draw.uniform(0, 2))
    stage.driver.kill()
    stage.recover()


def silver_apart(stage: Stage) -> None:
    """Silver is a process of its own: killed -9 with some tables committed, then at random."""
    stage.produce()
    silver = [flow.name for flow in stage.product.flows if isinstance(flow, SilverFlow)]
    stage.start(flows=[name for name in stage.flows if name not in silver])
    stage.start(stage.step(Step.SILVER_TABLE_COMMITTED, range(1, 20)), silver)
    stage.expect_kill(stage.driver.process, "silver's driver")
    stage.recover()
    time.sleep(stage.draw.uniform(0, 2))
    stage.driver.kill()
    stage.recover()


def jvm_killed(stage: Stage) -> None:
    """kill -9 of Spark's JVM, as when the kernel is short of memory."""
    running_for(stage, 25)
    since = time.monotonic()
    stage.driver.jvm().kill()
    _until_ended(stage, 30)  # it may have landed everything, and be killed in its sleep
    stage.recover(since)


def reader_killed(stage: Stage) -> None:
    """kill -9 of the process that reads ahead, three times; the driver starts another."""
    running_for(stage, 25)
    for _ in range(3):
        stage.driver.reader().kill()
        time.sleep(stage.draw.uniform(0.5, 3))
    stage.recover()


def driver_paused(seconds: float) -> Act:
    """SIGSTOP, later SIGCONT."""

    def act(stage: Stage) -> None:
        running_for(stage, seconds + 20)
        stage.driver.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        stage.driver.process.send_signal(signal.SIGCONT)
        stage.recover()

    return act


def broker_killed(stage: Stage) -> None:
    """kill -9 of the broker; a moment later it is started again."""
    running_for(stage, 30)
    stage.broker.kill()
    time.sleep(stage.draw.uniform(0, 5))
    since = time.monotonic()
    stage.broker.start()
    stage.recover(since)


def broker_paused(seconds: float) -> Act:
    """SIGSTOP of the broker, later SIGCONT."""

    def act(stage: Stage) -> None:
        running_for(stage, seconds + 20)
        stage.later.callback(stage.broker.signal, signal.SIGCONT)
        stage.broker.signal(signal.SIGSTOP)
        time.sleep(seconds)
        since = time.monotonic()
        stage.broker.signal(signal.SIGCONT)
        stage.recover(since)

    return act


def disk_full(stage: Stage) -> None:
    """The lake's file system fills up, and a while later has room again."""
    _mount(stage, stage.root, "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(stage.root))
    running_for(stage, 35)
    ballast = stage.root / "ballast"
    try:
        with ballast.open("wb", buffering=0) as out:
            for size in (1 << 20, 1 << 12, 1):
                while True:
                    try:
                        out.write(b"\0" * size)
                    except OSError:
                        break
        _until_ended(stage, 20)
    finally:
        ballast.unlink()
    stage.recover()


def read_only(stage: Stage) -> None:
    """Bronze's folder can be read only, and a while later can be written again."""
    running_for(stage, 35)
    place = stage.lake.table(f"bronze.{stage.product.name}")
    _mount(stage, Path(place), "--bind", place, place)
    while _remount("ro", place):
        time.sleep(0.01)  # a file is being written there just now
    _until_ended(stage, 20)
    _remount("rw", place)
    stage.recover()


def driver_clock(stage: Stage) -> None:
    """The driver's clock goes two hours forward, then four back; kill -9; then it is right."""
    clock = Clock(stage.folder)
    right = dict(stage.environment)
    stage.environment |= clock.environment
    running_for(stage, 35)
    for hours in (2, -2):
        clock.step(hours * HOUR)
        time.sleep(4)
        stage.catch_up()
        told = _last_ingest(stage)
        if abs(told - time.time() - hours * HOUR) > HOUR:
            raise Failed(f"the driver's clock did not step: bronze was last written at {told}")
    stage.driver.kill()
    stage.environment = right
    stage.recover()


def broker_clock(stage: Stage) -> None:
    """The broker's clock goes three hours forward and back again: Kafka's times are not sorted."""
    clock = Clock(stage.folder)
    broker = stage.later.enter_context(running(stage.folder / "broker", clock.environment))
    stage.use(broker)
    running_for(stage, 30)
    clock.step(3 * HOUR)
    time.sleep(5)
    clock.step(0)
    since = time.monotonic()
    stage.recover(since)
    ahead = sum(record.time / 1000 > time.time() + HOUR for _, record in read(stage))
    if not ahead:
        raise Failed("the broker's clock did not step: no record is of a later time")


def running_for(stage: Stage, seconds: float) -> None:
    """Events flow for about so long, and the driver has caught up with them."""
    stage.produce(seconds)
    stage.start()
    stage.catch_up()  # its first batch
    stage.catch_up()  # and what has come meanwhile


def _until_ended(stage: Stage, most: float) -> None:
    """Wait for the driver's end, but not for ever: it may go on trying."""
    try:
        stage.driver.process.wait(most)
    except subprocess.TimeoutExpired:
        stage.ends.append("went on")


def _mount(stage: Stage, place: Path, *words: str) -> None:
    if os.geteuid() != 0:
        raise Skipped("only root may mount")
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"mounting is not allowed: {done.stderr.strip()}")
    stage.later.callback(subprocess.run, ["umount", "-l", str(place)], check=True)


def _remount(how: str, place: str) -> int:
    words = ["mount", "-o", f"remount,{how},bind", place]
    return subprocess.run(words, capture_output=True, check=False).returncode


def _last_ingest(stage: Stage) -> float:
    """The driver's time of the newest batch, in seconds since 1970."""
    found = duckdb.execute(
        "SELECT epoch(arg_max(ingest_time, batch_id)) FROM read_parquet($files)",
        {"files": DeltaTable(stage.lake.table(f"bronze.{stage.product.name}")).file_uris()},
    ).fetchone()
    return float(found[0]) if found else 0.0
