"""Sales in the matrix: its producer with shares of bad events, faults of its own, its check."""

from __future__ import annotations

import itertools
import random
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from deltalake import DeltaTable

from lakehouse.core.failpoint import Step
from producers.message import Message
from tests.earlier import without_fingerprints
from tests.matrix.driver import Failed
from tests.matrix.faults import HOUR, Act, running_for
from tests.matrix.products.sales_check import wrong
from tests.matrix.products.sales_sending import Sender, huge, make_topic, messages, old
from tests.matrix.row import Row
from tests.matrix.stage import PATIENCE, Stage

ORDERS_A_SECOND = 40
EVENTS_AN_ORDER = 3.9


class SalesStage(Stage):
    """A try of sales."""

    def produce(self, seconds: float = 20, failpoint: str = "") -> subprocess.Popen[str]:
        """Start the sales producer, for about so long; the same events again when called again."""
        count = int(seconds * ORDERS_A_SECOND * EVENTS_AN_ORDER)
        shares = ["--corrupt", "0.02", "--duplicates", "0.02", "--late", "0.02"]
        seed = str(random.Random(self.seed).randrange(10**6))
        return self.producer(
            ["producers/sales/producer.py", "--count", str(count), "--rate", str(ORDERS_A_SECOND),
             "--seed", seed, *shares, "--days", str(self.days), "--json"],
            failpoint,
        )  # fmt: skip

    def wrong(self) -> Iterator[str]:
        """Kafka's JSON against the tables."""
        return wrong(self)


STAGE = SalesStage


def replay_killed(stage: Stage) -> None:
    """Records that a setting refused are replayed; killed -9 between the replay's two commits.

    Then upkeep of bronze commits, under the version that the marks name, and the flow
    starts again.
    """
    right = dict(stage.environment)
    earliest = datetime.now(UTC).date() - timedelta(days=stage.days // 3)
    stage.environment["LAKEHOUSE_SALES_EARLIEST"] = earliest.isoformat()
    running_for(stage, 15)
    stage.driver.kill()
    stage.environment = right
    failpoint = stage.step(Step.REPLAY_MARKED, range(1, 2))
    stage.expect_kill(stage.verb("quarantine", "replay", failpoint=failpoint), "the replay")
    if code := stage.verb("maintain", "bronze.sales").wait(PATIENCE):
        raise Failed(f"maintain ended with {code}")
    stage.start()  # bronze has every offset: nothing but a start completes the replay
    stage.produce(5)  # and what comes then is landed behind it
    stage.recover()


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
    running_for(stage, 10)
    stage.driver.kill()
    bronze = stage.lake.table("bronze.sales")
    for table in (bronze, stage.lake.table("quarantine.sales")):
        without_fingerprints(table)
    wrong = {"is_duplicate": "NOT is_duplicate"}
    DeltaTable(bronze).update(updates=wrong, predicate='"offset" % 7 = 0')
    failpoint = stage.step(Step.REMARKED, range(1, 2))
    stage.expect_kill(stage.verb("remark", "sales", failpoint=failpoint), "the remark")
    if code := stage.verb("remark", "sales").wait(PATIENCE):
        raise Failed(f"remark ended with {code}")
    stage.start()
    stage.produce(5)
    stage.recover()


ROWS = [
    Row(
        "replay-marked",
        "kill -9 of a replay: quarantine marked, bronze not; then upkeep of bronze",
        replay_killed,
    ),
    Row(
        "producer-posting",
        "the producer killed -9 before its records are sent; all sent again",
        producer_killed(Step.RECORD_POSTED),
    ),
    Row(
        "producer-unsure",
        "the producer killed -9 before it counts what the broker took; all sent again",
        producer_killed(Step.RECORD_TAKEN),
    ),
    Row("transactions", "aborted and open transactions, and kill -9", transactions),
    Row("huge-records", "records of 5 MB, good and broken, and kill -9", huge_records),
    Row(
        "remarked",
        "kill -9 of a remark: bronze's rows marked again, silver not",
        remark_killed,
    ),
    Row("out-of-step", "a partition six hours behind the other, and kill -9", out_of_step),
    Row("skewed-clocks", "producers whose clocks differ by hours, and kill -9", skewed_clocks),
    Row("idle-partition", "a partition without records, and kill -9", idle_partition),
]
