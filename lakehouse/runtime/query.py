"""A bronze flow as a running Structured Streaming query."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from py4j.protocol import Py4JNetworkError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from lakehouse.core import failpoint
from lakehouse.core.errors import LakehouseError, ServiceUnavailable
from lakehouse.core.failpoint import Step
from lakehouse.core.metrics import (
    BATCH_ROWS,
    BATCHES,
    DUPLICATES,
    FRESHNESS,
    LAST_BATCH,
    LATE,
    ROWS,
    STAGES,
)
from lakehouse.core.paths import Lake
from lakehouse.ingest.landing import BronzePublisher, Landed
from lakehouse.ingest.reader.process import ReaderFault, Taken
from lakehouse.ingest.topic import TopicReader
from lakehouse.ingest.writers import BronzeWriter
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.ingest.writers.spark import SparkWriter
from lakehouse.model.contract import Contract
from lakehouse.runtime.checkpoint import Checkpoint
from lakehouse.runtime.continuity import Continuity
from lakehouse.runtime.faults import in_words
from lakehouse.runtime.reading import LocalReader, decoded, planned
from lakehouse.runtime.session import expected_master, is_local
from lakehouse.settings.kafka_client import unreachable
from lakehouse.settings.settings import Settings

log = structlog.get_logger("lakehouse")
_FULL = 0.9
"""A batch with this share of [stream] max_records_per_batch: more records wait."""
JVM_GONE = (Py4JNetworkError, ConnectionError)
"""What a call into Spark raises once its JVM has ended."""


class BronzeQuery:
    """Kafka → bronze and quarantine, batch by batch, until stopped.

    ``on_landed`` is called after each commit, in the same thread: it hands the batch to what
    follows bronze in the same driver.
    """

    def __init__(
        self,
        publisher: BronzePublisher,
        settings: Settings,
        topic: TopicReader,
        on_landed: Callable[[Landed], None],
    ) -> None:
        self._publisher, self._position, self._settings = publisher, publisher.position, settings
        self._topic = Continuity(publisher, settings, topic)
        self._on_landed = on_landed
        self._contract: Contract = publisher.contract
        self.name = f"{self._contract.name}.bronze"
        self._checkpoint = Checkpoint(Lake(settings.lake.root).checkpoint(self.name))
        self._reader: LocalReader | None = None
        """The process on this machine that reads ahead; without one Spark's executors read."""
        self._writer: BronzeWriter[Any] = ArrowWriter(publisher)
        self._gate = threading.Lock()
        self._stopping = False
        self._query: Any = None
        self.error: BaseException | None = None
        self.is_stuck = False
        """Whether a batch did not end when it was asked to stop: it may still write."""

    def read_ahead(self) -> None:
        """Begin to read on this machine, while Spark starts; whether that is wanted Spark says."""
        if (master := expected_master(self._settings)) and self._reads_here(master):
            topic = self._topic.read()
            self._reader = LocalReader(self._contract, self._settings)
            self._reader.begin(self._position.ends, topic)

    def _reads_here(self, master: str) -> bool:
        return is_local(self._settings.bronze.path, master)

    def start(self, spark: SparkSession, *, available_now: bool) -> None:
        """Start the query from the table's ends.

        TableDamaged if the topic does not continue from there: see :class:`Continuity`.
        """
        topic = self._topic.reconcile()
        if self._reads_here(str(spark.sparkContext.master)):
            self._reader = self._reader or LocalReader(self._contract, self._settings)
        else:
            self._close_reader()
            self._reader = None
            self._writer = SparkWriter(self._publisher)
        self._checkpoint.clear()
        trigger: dict[str, Any] = (
            {"availableNow": True}
            if available_now
            else {"processingTime": f"{self._settings.stream.trigger.total_seconds()} seconds"}
        )
        records = planned(spark, self._settings, self._position.ends, topic)
        if self._reader:
            self._reader.begin(self._position.ends, topic)
        else:
            records = decoded(records, self._contract, self._settings)
        self._query = (
            records.writeStream.queryName(self.name)
            .foreachBatch(self._land)
            .option("checkpointLocation", self._checkpoint.uri)
            .trigger(**trigger)
            .start()
        )

    def _land(self, rows: DataFrame, batch_id: int) -> None:
        """Land a batch, unless the query is being stopped.

        Spark's stop waits for this call, so it must not wait for the stop. A batch that is
        left out is not in bronze's ends, and the next start reads it again.
        """
        while not self._gate.acquire(timeout=0.05):
            if self._stopping:
                return
        try:
            if not self._stopping:
                self._land_one(rows, batch_id)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._gate.release()

    def between_batches(self, work: Callable[[], None]) -> None:
        """Do ``work`` that is due though no batch came; a batch that is running does it itself."""
        if self._stopping or not self._gate.acquire(blocking=False):
            return
        try:
            work()
        finally:
            self._gate.release()

    def _land_one(self, rows: DataFrame, batch_id: int) -> None:
        ends = self._checkpoint.offsets(batch_id).get(self._publisher.product.topic, {})
        if self._position.ends.reached(ends):
            return  # already landed, before a crash or a lost checkpoint
        failpoint.reach(Step.OFFSETS_PLANNED)
        if self._reader:
            self._land_in_parts(self._reader, ends)
        else:
            self._land_whole(rows, ends)
        failpoint.reach(Step.BATCH_LANDED)

    def _land_whole(self, rows: DataFrame, ends: dict[int, int]) -> None:
        """Commit a planned range in one piece, by Spark's executors."""
        started = time.perf_counter()
        # on a cluster nobody but Spark knows whether it left some records out
        check = partial(self._topic.check, is_told=False)
        landed = self._writer.publish(rows, ends, datetime.now(UTC), check)
        self._landed(landed, started, 0.0)

    def _land_in_parts(self, reader: LocalReader, ends: dict[int, int]) -> None:
        """Commit a planned range in as many parts as its size in bytes requires; usually one.

        After a stop or a crash between two parts, bronze's ends are inside the range, and the
        next start continues from there.
        """
        while not (self._stopping or self._position.ends.reached(ends)):
            started = time.perf_counter()
            part = self._read_part(reader, ends)
            if part is None:
                return
            fetched = time.perf_counter() - started
            now = datetime.now(UTC)
            landed = self._writer.publish(part.rows, part.ends, now, self._topic.check)
            is_full = part.rows.num_rows >= _FULL * self._settings.stream.max_records_per_batch
            more = is_full or not self._position.ends.reached(ends)
            self._landed(replace(landed, more=more), started, fetched)

    def _read_part(self, reader: LocalReader, ends: dict[int, int]) -> Taken | None:
        """Rows of a planned range; TableDamaged where Kafka no longer has what comes next."""
        first: dict[int, int] = {}
        deadline: float | None = None
        while True:
            try:
                return reader.part(self._position.ends, first, ends, lambda: self._stopping)
            except ServiceUnavailable:
                self._topic.read()  # where the broker is away, that is what to say
                raise
            except ReaderFault as fault:
                now, topic = time.monotonic(), self._topic.read()
                self._topic.lacks(topic)
                deadline = deadline or now + self._settings.kafka.request_timeout.total_seconds()
                if now > deadline:
                    raise unreachable(self._settings.kafka, fault) from None
                time.sleep(0.2)
                first = {partition: offset for partition, (offset, _) in topic.ranges.items()}

    def _landed(self, landed: Landed, started: float, fetched: float) -> None:
        now, committed = datetime.now(UTC), time.perf_counter()
        self._on_landed(landed)
        ended = time.perf_counter()
        self._count(landed, now)
        for stage, seconds in (
            ("fetch", fetched), ("publish", landed.seconds), ("follow", ended - committed),
            ("total", ended - started),
        ):  # fmt: skip
            STAGES.labels(self.name, stage).observe(seconds)
        log.info(
            "batch landed", flow=self.name, rows=landed.good, quarantined=landed.bad,
            late=landed.late, duplicates=landed.duplicates,
            batch_id=self._position.ends.batch, version=landed.version,
            fetch_ms=round(fetched * 1000), publish_ms=round(landed.seconds * 1000),
            total_ms=round((ended - started) * 1000),
        )  # fmt: skip

    def _count(self, landed: Landed, now: datetime) -> None:
        ROWS.labels(self.name, "bronze").inc(landed.good)
        ROWS.labels(self.name, "quarantine").inc(landed.bad)
        LATE.labels(self.name).inc(landed.late)
        DUPLICATES.labels(self.name).inc(landed.duplicates)
        BATCHES.labels(self.name).inc()
        BATCH_ROWS.labels(self.name).observe(landed.good + landed.bad)
        LAST_BATCH.labels(self.name).set(now.timestamp())
        if landed.rows is not None:
            FRESHNESS.observe(self.name, landed.rows["kafka_time"], now)

    def wait(self, seconds: float) -> bool:
        """Wait until the query ends; True if it has ended. Raises the error that stopped it."""
        try:
            ended = bool(self._query.awaitTermination(seconds))
        except PySparkException as error:
            raise self._reason(error) from None
        except JVM_GONE:
            raise ServiceUnavailable(
                "Spark",
                "its JVM has ended",
                "start again; where memory ran out, raise [spark] driver_memory or the machine's",
            ) from None
        return ended

    def _reason(self, error: PySparkException) -> BaseException:
        for met in filter(None, (self.error, error)):
            if told := in_words(met, self._settings):
                return told
        text = str(error)
        is_gone = "UnknownTopicOrPartition" in text
        if is_gone or re.search(r"data loss|failOnDataLoss", text):
            try:
                self._position.refuse(self._position.gaps(self._topic.read()))
            except LakehouseError as refused:
                return refused
        if is_gone and not self.error:  # it is there again, and the same
            return unreachable(self._settings.kafka, "the topic was not to be found for a moment")
        return self.error or error

    def stop(self) -> bool:
        """Let the current batch finish, then stop; True if it finished.

        False if a batch failed, or did not finish in time and may still be running.
        """
        if self._query is None:
            self._topic.close()
            self._close_reader()
            return self.error is None
        timeout = self._settings.stream.stop_timeout.total_seconds()
        self._stopping = True
        finished = self._gate.acquire(timeout=timeout)
        self.is_stuck = not finished
        try:
            self._query.stop()
        except JVM_GONE:
            pass  # nothing runs any more
        except PySparkException as error:
            log.warning("the query did not stop cleanly", reason=str(error)[:200])
        finally:
            if finished:
                self._gate.release()
            self._topic.close()
            self._close_reader()
        return finished and self.error is None

    def _close_reader(self) -> None:
        if self._reader:
            self._reader.close()
