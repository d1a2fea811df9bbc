"""The rows of the matrix, and how one try of a row is made."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lakehouse.core.failpoint import Step
from tests.matrix import faults
from tests.matrix.broker import Broker
from tests.matrix.check import check
from tests.matrix.faults import Act, killed_at
from tests.matrix.stage import Failed, Skipped, Stage

SPARK = {"LAKEHOUSE_BRONZE_PATH": "cluster", "LAKEHOUSE_STREAM_MAX_RECORDS_PER_BATCH": "2000"}
SPARK_DAYS = 3
"""Hadoop's local file system starts two processes for each file: a laptop's limit, not ours."""
BY_SPARK = "Spark's writer"
MAINTENANCE = {
    "LAKEHOUSE_MAINTENANCE_COMPACT_AFTER_COMMITS": "3",
    "LAKEHOUSE_MAINTENANCE_VACUUM_INTERVAL": "1 seconds",
    "LAKEHOUSE_TABLE_DELETED_FILE_RETENTION": "1 seconds",
    "LAKEHOUSE_TABLE_LOG_RETENTION": "1 seconds",
    "LAKEHOUSE_TABLE_CHECKPOINT_INTERVAL": "4",
}
"""Upkeep between nearly every two batches, and nothing old is kept."""
UPKEEP = (
    Step.COMPACTION_FILES, Step.COMPACTED, Step.VACUUMED, Step.IDS_WRITTEN, Step.IDS_SAVED,
)  # fmt: skip
"""Steps of upkeep, the saving of event ids among them."""
LIMIT_SECONDS = 60.0
"""A recovery that takes longer is a fault."""


@dataclass(frozen=True)
class Row:
    """A fault: its name for ``--only``, what it is, and what does it."""

    name: str
    fault: str
    act: Act
    settings: Mapping[str, str] = field(default_factory=dict)
    days: int = 30
    """Days that the events are spread over: each is a partition of bronze."""


@dataclass(frozen=True)
class Outcome:
    """What one try showed. ``wrong`` is empty where all of it held."""

    seconds: Sequence[float] = ()
    records: int = 0
    lost: int = 0
    doubled: int = 0
    ends: Sequence[str] = ()
    wrong: Sequence[str] = ()
    skipped: str = ""

    @property
    def faults(self) -> list[str]:
        """What did not hold."""
        counts = {"lost": self.lost, "doubled": self.doubled}
        slow = [s for s in self.seconds if s > LIMIT_SECONDS]
        return [
            *self.wrong,
            *(f"{count} {what}" for what, count in counts.items() if count),
            *(f"{seconds:.0f} s to recover" for seconds in slow),
        ]


def attempt(row: Row, number: int, seed: int, broker: Broker, folder: Path) -> Outcome:
    """One try of a row; its folder stays where something was wrong."""
    folder = folder / f"{row.name.replace('/', '-')}-{number}"
    moments = f"{seed} {row.name} {number}"
    with Stage(broker, folder, moments, row.settings, row.days) as stage:
        try:
            row.act(stage)
            stage.finish()
            found = check(stage)
        except Skipped as reason:
            return Outcome(skipped=str(reason))
        except Failed as failure:
            return Outcome(stage.seconds, ends=stage.ends, wrong=[str(failure)])
        except Exception as error:  # noqa: BLE001  # one row's end is not that of the others
            traceback.print_exc()
            return Outcome(stage.seconds, ends=stage.ends, wrong=[repr(error)])
    outcome = Outcome(
        stage.seconds, found.records, found.lost, found.doubled, stage.ends, found.wrong
    )
    if not outcome.faults:
        shutil.rmtree(stage.folder)
    return outcome


def _steps() -> Iterator[Row]:
    """kill -9 at each step of a batch; by Spark's writer too where it does the step otherwise."""
    for step, what, comings, either in (
        (Step.OFFSETS_PLANNED, "a batch planned, nothing read", range(1, 6), True),
        (Step.QUARANTINE_COMMITTED, "quarantine committed, bronze not", range(1, 4), True),
        (Step.BRONZE_FILES, "bronze's Parquet files half written", range(1, 5), True),
        (Step.BRONZE_COMMITTED, "bronze committed, silver not", range(1, 5), True),
        (Step.STATE_STORED, "silver's state has a batch, its tables not", range(1, 20), False),
        (Step.SILVER_TABLE_COMMITTED, "some silver tables committed", range(1, 20), True),
        (Step.SILVER_FOLDED, "silver committed, its state not told", range(1, 5), False),
        (Step.FINER_DUE, "finer tables about to be written", range(1, 6), False),
        (Step.FINER_COMMITTED, "some finer tables written", range(1, 6), False),
        (Step.LEDGER_COMMITTED, "the ledger written", range(1, 3), False),
        (Step.IDS_WRITTEN, "runs of event ids written, the store not", range(1, 6), False),
        (Step.IDS_SAVED, "the store of event ids written, merged runs there", range(1, 6), False),
        (Step.BATCH_LANDED, "all landed, Spark's checkpoint not", range(1, 5), True),
        (Step.COMPACTION_FILES, "compacted files half written", range(1, 16), True),
        (Step.COMPACTED, "a table compacted, its old files there", range(1, 16), False),
        (Step.VACUUMED, "old files removed, the log not cleaned", range(10, 40), True),
    ):
        settings = MAINTENANCE if step in UPKEEP else {}
        fault = f"kill -9: {what}"
        yield Row(step.value, fault, killed_at(step, comings), settings)
        if either:  # Spark's batches are larger, and so fewer
            act = killed_at(step, comings[: (len(comings) + 1) // 2])
            settings = {**settings, **SPARK}
            yield Row(f"{step}/spark", f"{fault} ({BY_SPARK})", act, settings, SPARK_DAYS)


ROWS = [
    *_steps(),
    Row("random", "kill -9 three times, at random times", faults.killed_at_random),
    Row(
        "random/spark",
        f"kill -9 three times, at random times ({BY_SPARK})",
        faults.killed_at_random,
        SPARK,
        SPARK_DAYS,
    ),
    Row(
        "silver-apart",
        "kill -9 of silver in a process of its own: some tables committed, and at random",
        faults.silver_apart,
    ),
    Row(
        "replay-marked",
        "kill -9 of a replay: quarantine marked, bronze not; then upkeep of bronze",
        faults.replay_killed,
    ),
    Row("jvm-killed", "kill -9 of Spark's JVM under the driver", faults.jvm_killed),
    Row("driver-paused", "the driver stopped for 45 s", faults.driver_paused(45)),
    Row("broker-killed", "kill -9 of the broker, started again", faults.broker_killed),
    Row("broker-paused", "the broker stopped for 30 s", faults.broker_paused(30)),
    Row("disk-full", "the lake's disk full, then room again", faults.disk_full),
    Row("read-only", "bronze's folder read-only for a while", faults.read_only),
    Row("driver-clock", "the driver's clock 2 h ahead, then 2 h behind", faults.driver_clock),
    Row("broker-clock", "the broker's clock 3 h ahead, then right again", faults.broker_clock),
    Row(
        "producer-posting",
        "the producer killed -9 before its records are sent; all sent again",
        faults.producer_killed(Step.RECORD_POSTED),
    ),
    Row(
        "producer-unsure",
        "the producer killed -9 before it counts what the broker took; all sent again",
        faults.producer_killed(Step.RECORD_TAKEN),
    ),
    Row("transactions", "aborted and open transactions, and kill -9", faults.transactions),
    Row("huge-records", "records of 5 MB, good and broken, and kill -9", faults.huge_records),
    Row(
        "remarked",
        "kill -9 of a remark: bronze's rows marked anew, silver not",
        faults.remark_killed,
    ),
    Row(
        "out-of-step",
        "a partition six hours behind the other, and kill -9",
        faults.out_of_step,
    ),
    Row(
        "skewed-clocks", "producers whose clocks differ by hours, and kill -9", faults.skewed_clocks
    ),
    Row("idle-partition", "a partition without records, and kill -9", faults.idle_partition),
]
