"""What is done to a try: each is a function of the stage, and ends with a recovery."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from deltalake import DeltaTable

from lakehouse.core.failpoint import Step
from producers.message import Message
from tests.earlier import without_fingerprints
from tests.matrix.broker import running
from tests.matrix.check import read
from tests.matrix.clock import Clock
from tests.matrix.products.sales_sending import Sender, huge, make_topic, messages, old
from tests.matrix.stage import PATIENCE, Failed, Skipped, Stage

Act = Callable[[Stage], None]
MID_WRITE = (Step.BRONZE_FILES, Step.COMPACTION_FILES)
HOUR = 3600


def killed_at(step: Step, comings: range) -> Act:
    """The driver ends itself as kill -9 would, at a step, at a coming that is drawn."""

    def act(stage: Stage) -> None:
        stage.produce()
        stage.start(stage.step(step, comings))
        stage.expect_kill(stage.driver.process, "the driver")
        if step in MID_WRITE and not stage.orphans():
            raise Failed(f"no file without a commit is left: {stage.driver.last_words()}")
        stage.recover()

    return act


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


def replay_killed(stage: Stage) -> None:
    """Records that a setting refused are replayed; killed -9 between the replay's two commits.

    Then upkeep of bronze commits, under the version that the marks name, and the flow
    starts again.
    """
    right = dict(stage.environment)
    earliest = datetime.now(UTC).date() - timedelta(days=stage.days // 3)
    stage.environment["LAKEHOUSE_SALES_EARLIEST"] = earliest.isoformat()
    _running(stage, 15)
    stage.driver.kill()
    stage.environment = right
    failpoint = stage.step(Step.REPLAY_MARKED, range(1, 2))
    stage.expect_kill(stage.verb("quarantine", "replay", failpoint=failpoint), "the replay")
    if code := stage.verb("maintain", "bronze.sales").wait(PATIENCE):
        raise Failed(f"maintain ended with {code}")
    stage.start()  # bronze has every offset: nothing but a start completes the replay
    stage.produce(5)  # and what comes then is landed behind it
    stage.recover()


def silver_apart(stage: Stage) -> None:
    """Silver is a process of its own: killed -9 with some tables committed, then at random."""
    stage.produce()
    stage.start(flows=["sales.bronze"])
    stage.start(stage.step(Step.SILVER_TABLE_COMMITTED, range(1, 20)), ["sales.silver"])
    stage.expect_kill(stage.driver.process, "silver's driver")
    stage.recover()
    time.sleep(stage.draw.uniform(0, 2))
    stage.driver.kill()
    stage.recover()


def jvm_killed(stage: Stage) -> None:
    """kill -9 of Spark's JVM, as when the kernel is short of memory."""
    _running(stage, 25)
    since = time.monotonic()
    stage.driver.jvm().kill()
    _until_ended(stage, 30)  # it may have landed everything, and be killed in its sleep
    stage.recover(since)


def driver_paused(seconds: float) -> Act:
    """SIGSTOP, later SIGCONT."""

    def act(stage: Stage) -> None:
        _running(stage, seconds + 20)
        stage.driver.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        stage.driver.process.send_signal(signal.SIGCONT)
        stage.recover()

    return act


def broker_killed(stage: Stage) -> None:
    """kill -9 of the broker; a moment later it is started again."""
    _running(stage, 30)
    stage.broker.kill()
    time.sleep(stage.draw.uniform(0, 5))
    since = time.monotonic()
    stage.broker.start()
    stage.recover(since)


def broker_paused(seconds: float) -> Act:
    """SIGSTOP of the broker, later SIGCONT."""

    def act(stage: Stage) -> None:
        _running(stage, seconds + 20)
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
    _running(stage, 35)
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
    _running(stage, 35)
    place = stage.table("bronze.sales")
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
    _running(stage, 35)
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
    _running(stage, 30)
    clock.step(3 * HOUR)
    time.sleep(5)
    clock.step(0)
    since = time.monotonic()
    stage.recover(since)
    ahead = sum(record.time / 1000 > time.time() + HOUR for _, record in read(stage))
    if not ahead:
        raise Failed("the broker's clock did not step: no record is of a later time")


def producer_killed(step: Step) -> Act:
    """The producer is killed -9 at a step, and all of its events are sent again."""

    def act(stage: Stage) -> None:
        stage.start()
        producer = stage.produce(failpoint=stage.step(step, range(300, 1500)))
        stage.expect_kill(producer, "the producer")
        again = stage.produce()
        again.wait()
        stage.recover()

    return act


def transactions(stage: Stage) -> None:
    """Aborted transactions between committed ones; kill -9 while one is open."""
    make_topic(stage)
    events, sender = messages(stage, 10_000, "tx"), Sender(stage)
    stage.start(stage.step(Step.BRONZE_COMMITTED, range(2, 6)))
    for number in range(25):
        sender.post(itertools.islice(events, stage.draw.randint(1, 150)))
        sender.abort() if number % 3 == 1 else sender.commit()
    stage.expect_kill(stage.driver.process, "the driver")
    sender.post(itertools.islice(events, 100))
    stage.recover()
    sender.abort()
    sender.post(itertools.islice(events, 100))
    sender.commit()


def huge_records(stage: Stage) -> None:
    """Records of 5 MB, good and broken ones, among the usual; kill -9 after a commit."""
    make_topic(stage)
    events, sender = huge(messages(stage, 10_000, "huge")), Sender(stage)
    stage.start(stage.step(Step.BRONZE_COMMITTED, range(1, 4)))
    sender.post(itertools.islice(events, 1_200))
    sender.commit()
    stage.expect_kill(stage.driver.process, "the driver")
    stage.recover()


def idle_partition(stage: Stage) -> None:
    """One of three partitions never has a record; kill -9 when a batch has landed."""
    make_topic(stage, partitions=3)
    events, sender = messages(stage, 10_000, "idle"), Sender(stage, partitions=(0, 2))
    stage.start(stage.step(Step.BATCH_LANDED, range(1, 5)))
    sender.post(itertools.islice(events, 1_500))
    sender.commit()
    stage.expect_kill(stage.driver.process, "the driver")
    stage.recover()
    sender.post(itertools.islice(events, 100))
    sender.commit()


def out_of_step(stage: Stage) -> None:
    """One partition's records are six hours older than the other's; kill -9 after a commit."""
    now = time.time()
    _by_clocks(stage, lambda _, partition: now - 6 * HOUR * (1 - partition))


def skewed_clocks(stage: Stage) -> None:
    """Five producers, whose clocks are up to three hours behind and 50 minutes ahead."""
    skews = [stage.draw.uniform(-3 * HOUR, 50 * 60) for _ in range(5)]
    _by_clocks(stage, lambda message, _: time.time() + skews[zlib.crc32(message.key) % 5])


def _by_clocks(stage: Stage, clock: Callable[[Message, int], float]) -> None:
    """Records have the times of their producers' clocks; kill -9 after a commit of bronze."""
    make_topic(stage, time="CreateTime")
    events, sender = old(messages(stage, 10_000, "clocks"), hours=8), Sender(stage)
    stage.start(stage.step(Step.BRONZE_COMMITTED, range(2, 5)))
    for _ in range(12):
        sender.post(itertools.islice(events, 150), clock)
        sender.commit()
    stage.expect_kill(stage.driver.process, "the driver")
    sender.post(itertools.islice(events, 300), clock)
    sender.commit()
    stage.recover()


def remark_killed(stage: Stage) -> None:
    """Marks of an earlier release are wrong; killed -9 between bronze's marks and its followers."""
    _running(stage, 10)
    stage.driver.kill()
    bronze = stage.table("bronze.sales")
    without_fingerprints(bronze)
    wrong = {"is_duplicate": "NOT is_duplicate"}
    DeltaTable(bronze).update(updates=wrong, predicate='"offset" % 7 = 0')
    failpoint = stage.step(Step.REMARKED, range(1, 2))
    stage.expect_kill(stage.verb("remark", "sales", failpoint=failpoint), "the remark")
    if code := stage.verb("remark", "sales").wait(PATIENCE):
        raise Failed(f"remark ended with {code}")
    stage.start()
    stage.produce(5)
    stage.recover()


def _running(stage: Stage, seconds: float) -> None:
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
        {"files": DeltaTable(stage.table("bronze.sales")).file_uris()},
    ).fetchone()
    return float(found[0]) if found else 0.0
