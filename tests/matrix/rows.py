"""A product's rows of the matrix, and how one try of a row is made."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from lakehouse.core.failpoint import Step
from lakehouse.model.flow import BronzeFlow, Flow, ParquetFlow, SilverFlow
from lakehouse.model.product import Product
from lakehouse.model.sink import KafkaSink, PostgresSink
from tests.matrix import faults, sinks
from tests.matrix.broker import Broker
from tests.matrix.check import check
from tests.matrix.driver import Failed
from tests.matrix.faults import Act, killed_at
from tests.matrix.row import Outcome, Row
from tests.matrix.stage import Skipped, Stage

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
    "LAKEHOUSE_SILVER_GREATEST_AGE": "0 seconds",  # else old files of bronze are needed longer
}
"""Upkeep between nearly every two batches, and nothing old is kept."""
UPKEEP = (
    Step.COMPACTION_FILES, Step.COMPACTED, Step.VACUUMED, Step.IDS_WRITTEN, Step.IDS_SAVED,
)  # fmt: skip
"""Steps of upkeep, the saving of event ids among them."""


def attempt(
    product: Product, row: Row, number: int, seed: int, broker: Broker, folder: Path
) -> Outcome:
    """One try of a row; its folder stays where something was wrong."""
    folder = folder / f"{row.name.replace('/', '-')}-{number}"
    moments = f"{seed} {row.name} {number}"
    kind: type[Stage] = getattr(_own(product), "STAGE", Stage)
    with kind(broker, folder, moments, row.settings, row.days, product) as stage:
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


def _bronze(flow: Flow) -> bool:
    return isinstance(flow, BronzeFlow)


def _silver(flow: Flow) -> bool:
    return isinstance(flow, SilverFlow)


def _state(flow: Flow) -> bool:
    """Whether it has tables of state, written back apart from its aggregates."""
    return isinstance(flow, SilverFlow) and len(flow.tables) > len(flow.aggregates)


def _sessions(flow: Flow) -> bool:
    return isinstance(flow, SilverFlow) and bool(flow.sessions)


def _parquet(flow: Flow) -> bool:
    return isinstance(flow, ParquetFlow)


def _postgres(flow: Flow) -> bool:
    return isinstance(flow, PostgresSink)


def _kafka(flow: Flow) -> bool:
    return isinstance(flow, KafkaSink)


BATCH = (
    (Step.OFFSETS_PLANNED, "a batch planned, nothing read", range(1, 6), True, _bronze),
    (Step.QUARANTINE_COMMITTED, "quarantine committed, bronze not", range(1, 4), True, _bronze),
    (Step.BRONZE_FILES, "bronze's Parquet files half written", range(1, 5), True, _bronze),
    (Step.BRONZE_COMMITTED, "bronze committed, silver not", range(1, 5), True, _bronze),
    (
        Step.SESSIONS_CHANGED,
        "sessions' events changed in a transaction of the state",
        range(1, 6),
        False,
        _sessions,
    ),
    (
        Step.STATE_STORED,
        "silver's state has a batch, its tables not",
        range(1, 20),
        False,
        _silver,
    ),
    (Step.SILVER_TABLE_COMMITTED, "some silver tables committed", range(1, 20), True, _silver),
    (Step.SILVER_FOLDED, "silver committed, its state not told", range(1, 5), False, _silver),
    (Step.FINER_DUE, "finer tables about to be written", range(1, 6), False, _state),
    (Step.FINER_COMMITTED, "some finer tables written", range(1, 6), False, _state),
    (Step.LEDGER_COMMITTED, "the ledger written", range(1, 3), False, _bronze),
    (Step.IDS_WRITTEN, "runs of event ids written, the store not", range(1, 6), False, _bronze),
    (
        Step.IDS_SAVED,
        "the store of event ids written, merged runs there",
        range(1, 6),
        False,
        _bronze,
    ),
    (Step.BATCH_LANDED, "all landed, Spark's checkpoint not", range(1, 5), True, _bronze),
    (Step.COMPACTION_FILES, "compacted files half written", range(1, 16), True, _bronze),
    (Step.COMPACTED, "a table compacted, its old files there", range(1, 16), False, _bronze),
    (Step.VACUUMED, "old files removed, the log not cleaned", range(10, 40), True, _bronze),
    (
        Step.PARQUET_WRITTEN,
        "one day's Parquet file of a batch written",
        range(1, 6),
        False,
        _parquet,
    ),
    (Step.POSTGRES_WRITTEN, "rows in Postgres's transaction", range(1, 4), False, _postgres),
    (Step.POSTGRES_COMMITTED, "rows committed in Postgres", range(1, 4), False, _postgres),
    (Step.POSTGRES_AHEAD, "rows in Postgres, silver's table not", range(1, 6), False, _postgres),
    (Step.KAFKA_SENT, "records in an open Kafka transaction", range(1, 2), False, _kafka),
    (Step.KAFKA_COMMITTED, "a Kafka transaction committed", range(1, 2), False, _kafka),
)
"""The steps of a batch: what is done by then, which time of reaching it is drawn, whether Spark's
writer does it otherwise, and which flows reach it."""


def by_spark(row: Row, act: Act) -> Row:
    """The same row where Spark's writer lands."""
    settings = {**row.settings, **SPARK}
    return Row(f"{row.name}/spark", f"{row.fault} ({BY_SPARK})", act, settings, SPARK_DAYS)


def _steps(product: Product) -> Iterator[Row]:
    """kill -9 at each step that the flows reach, by Spark's writer too where it differs."""
    for step, what, times, either, reached in BATCH:
        if not any(reached(flow) for flow in product.flows):
            continue
        settings = MAINTENANCE if step in UPKEEP else {}
        fault = f"kill -9: {what}"
        row = Row(step.value, fault, killed_at(step, times), settings)
        yield row
        if either:  # Spark's batches are larger, and so fewer
            yield by_spark(row, killed_at(step, times[: (len(times) + 1) // 2]))


RANDOM = Row("random", "kill -9 three times, at random times", faults.killed_at_random)
COMMON = [
    RANDOM,
    by_spark(RANDOM, RANDOM.act),
    Row(
        "silver-apart",
        "kill -9 of silver in a process of its own: some tables committed, and at random",
        faults.silver_apart,
    ),
    Row("reader-killed", "kill -9 of the process that reads ahead, thrice", faults.reader_killed),
    Row("jvm-killed", "kill -9 of Spark's JVM under the driver", faults.jvm_killed),
    Row("driver-paused", "the driver stopped for 45 s", faults.driver_paused(45)),
    Row("broker-killed", "kill -9 of the broker, started again", faults.broker_killed),
    Row("broker-paused", "the broker stopped for 30 s", faults.broker_paused(30)),
    Row("disk-full", "the lake's disk full, then room again", faults.disk_full),
    Row("read-only", "bronze's folder read-only for a while", faults.read_only),
    Row("driver-clock", "the driver's clock 2 h ahead, then 2 h behind", faults.driver_clock),
    Row("broker-clock", "the broker's clock 3 h ahead, then right again", faults.broker_clock),
]
"""What befalls any product's flows."""
OF_SINKS = (
    (_postgres, Row("postgres-killed", "kill -9 of Postgres, started again", sinks.killed)),
    (_kafka, Row("kafka-zombie", "a paused writer of a topic fenced by another", sinks.fenced)),
)
"""What befalls sinks, and which flows are such."""


def rows_of(product: Product) -> list[Row]:
    """Every row of a product: of the steps that its flows reach, of all products, its own."""
    apart = any(isinstance(flow, SilverFlow) for flow in product.flows)
    common = [row for row in COMMON if apart or row.act is not faults.silver_apart]
    common += [row for kind, row in OF_SINKS if any(map(kind, product.flows))]
    return [*_steps(product), *common, *getattr(_own(product), "ROWS", ())]


def _own(product: Product) -> ModuleType | None:
    """The file of the product beside these, where it has one."""
    name = f"tests.matrix.products.{product.name}"
    return import_module(name) if find_spec(name) else None
