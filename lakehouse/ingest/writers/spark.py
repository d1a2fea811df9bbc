"""The writer of a cluster: a decoded batch of any size stays with Spark, which commits it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812  # the field's name for it

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.ingest.landing import BronzePublisher, Landed
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA, bronze_schema
from lakehouse.ingest.writers import no_check
from lakehouse.storage.fingerprint import KEY, Fingerprint, by_batch, changed, total_of
from lakehouse.storage.metadata import NOTE
from lakehouse.storage.table import Table

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SparkWriter:
    """Commits Spark's data frames; see :class:`lakehouse.ingest.writers.BronzeWriter`."""

    def __init__(self, publisher: BronzePublisher) -> None:
        self._publisher = publisher

    def publish(
        self,
        decoded: DataFrame,
        ends: Mapping[int, int],
        now: datetime,
        check: Callable[[], None] = no_check,
    ) -> Landed:
        """As the protocol says; the batch's rows never come to the driver."""
        started = time.perf_counter()
        publisher, position = self._publisher, self._publisher.position
        batch = position.ends.batch + 1
        rows = _new(publisher, decoded).persist()
        try:
            good, bad = rows.where("verdict IS NULL"), rows.where("verdict IS NOT NULL")
            bad_count = bad.count()
            check()
            if bad_count:
                note = publisher.quarantine_note(batch, bad_count)
                quarantined = _quarantined(publisher, bad, batch, now)
                _append(publisher.quarantine, quarantined, note, batch)
                failpoint.reach(Step.QUARANTINE_COMMITTED)
            marked = _marked(publisher, good, batch, now).persist()
            try:
                found = marked.agg(
                    F.count("*").alias("rows"),
                    F.max(F.unix_micros("event_time")).alias("newest"),
                    F.coalesce(F.sum(F.col("is_late").cast("int")), F.lit(0)).alias("late"),
                    F.coalesce(F.sum(F.col("is_duplicate").cast("int")), F.lit(0)).alias("doubled"),
                ).collect()[0]
                position.ends = position.ends.beginning(_lowest_offsets(rows))
                position.advance(_utc(found["newest"]), ends, batch)
                note = position.note(found["rows"], bad_count, found["late"], found["doubled"])
                landing = marked.select(bronze_schema(publisher.contract).names)
                with failpoint.writing(Step.BRONZE_FILES, publisher.bronze.uri):
                    _append(publisher.bronze, landing, note, batch)
                failpoint.reach(Step.BRONZE_COMMITTED)
            finally:
                marked.unpersist()
        finally:
            rows.unpersist()
        return Landed(
            publisher.bronze.version, None, found["rows"], bad_count, found["late"],
            found["doubled"], time.perf_counter() - started,
        )  # fmt: skip


def _lowest_offsets(rows: DataFrame) -> dict[int, int]:
    """The lowest offset of each partition among the rows."""
    found = rows.groupBy("partition").agg(F.min("offset").alias("lowest")).collect()
    return {row["partition"]: row["lowest"] for row in found}


def _new(publisher: BronzePublisher, decoded: DataFrame) -> DataFrame:
    """The rows above the ends that no table holds already."""
    below = F.lit(False)
    for partition, end in publisher.position.ends.next.items():
        below = below | ((F.col("partition") == partition) & (F.col("offset") < end))
    rows = decoded.where(~below)
    if publisher.position.ahead.num_rows:
        known = decoded.sparkSession.createDataFrame(publisher.position.ahead)
        rows = rows.join(known, ["partition", "offset"], "left_anti")
    return rows


def _quarantined(
    publisher: BronzePublisher, bad: DataFrame, batch: int, now: datetime
) -> DataFrame:
    added = {
        "batch_id": F.lit(batch).cast("long"),
        "flow": F.lit(f"{publisher.contract.name}.bronze"),
        "contract_version": F.lit(publisher.contract.version),
        "quarantined_at": F.lit(now),
        "replayed_version": F.lit(None).cast("long"),
        "replayed_at": F.lit(None).cast("timestamp"),
        "topic_id": F.lit(publisher.position.ends.topic_id or None).cast("string"),
    }
    return bad.withColumns(added).select(QUARANTINE_SCHEMA.names)


def _marked(publisher: BronzePublisher, good: DataFrame, batch: int, now: datetime) -> DataFrame:
    watermark = publisher.position.watermark
    late = F.col("event_time") < F.lit(watermark) if watermark is not None else F.lit(False)
    return _with_duplicates(publisher, good).withColumns(
        {
            "ingest_time": F.lit(now),
            "batch_id": F.lit(batch).cast("long"),
            "watermark": F.lit(watermark).cast("timestamp"),
            "is_late": late,
            "event_date": F.to_date("event_time"),
        }
    )


def _with_duplicates(publisher: BronzePublisher, good: DataFrame) -> DataFrame:
    """Copies within the horizon: of an earlier row of the batch, or of one that bronze holds."""
    horizon = publisher.copies.slots.within
    order = Window.partitionBy("event_id").orderBy("kafka_time", "partition", "offset")
    earlier = _micros(F.lag("kafka_time").over(order))
    repeated = _micros(F.col("kafka_time")) - earlier <= horizon
    recent = _recent(publisher, good)
    near = F.abs(_micros(F.col("held_time")) - _micros(F.col("kafka_time"))) <= horizon
    held = (
        good.join(recent, (F.col("event_id") == F.col("held_id")) & near, "left_semi")
        .select("partition", "offset")
        .withColumn("held", F.lit(True))
    )
    return (
        good.withColumn("repeated", F.coalesce(repeated, F.lit(False)))
        .join(held, ["partition", "offset"], "left")
        .withColumn("is_duplicate", F.col("repeated") | F.coalesce("held", F.lit(False)))
    )


def _recent(publisher: BronzePublisher, good: DataFrame) -> DataFrame:
    """What bronze holds within the horizon of the batch's records, and some more.

    The column itself is compared with literals, so that Delta leaves out files by their
    statistics. Times leave Spark as numbers: a collected timestamp is in the machine's
    zone, where an hour comes twice a year.
    """
    slots, spark = publisher.copies.slots, good.sparkSession
    micros = F.unix_micros("kafka_time")
    start = (micros - F.pmod(micros, F.lit(slots.width))).alias("start")
    found = [row["start"] for row in good.select(start).distinct().collect()]
    near = F.lit(False)
    for first, after in slots.spans(slots.near(slots.of(np.array(found, dtype=np.int64)))):
        time = F.col("kafka_time")
        near = near | ((time >= _at(first)) & (time < _at(after)))
    bronze = spark.read.format("delta").load(publisher.bronze.uri).where(near)
    return bronze.select(F.col("event_id").alias("held_id"), F.col("kafka_time").alias("held_time"))


def _at(micros: int) -> Column:
    return F.timestamp_micros(F.lit(micros))


def _append(table: Table, rows: DataFrame, note: Mapping[str, Any], batch: int) -> None:
    before = table.version
    if total := table.total():
        note = {**note, KEY: changed(total, {batch: _fingerprint(rows)}, {})}
    rows.write.format("delta").mode("append").option(NOTE, json.dumps(note)).save(table.uri)
    table.sync_commits_since(before)


def _fingerprint(rows: DataFrame) -> Fingerprint:
    """The fingerprint of rows that stay with Spark, added up by its executors."""
    parts = rows.mapInArrow(_partial_fingerprints, "rows long, sum string").collect()
    return sum((Fingerprint.read([part["rows"], part["sum"]]) for part in parts), Fingerprint())


def _partial_fingerprints(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows, sum_ = total_of(by_batch(batches)).note()
    yield pa.RecordBatch.from_pydict({"rows": [rows], "sum": [sum_]})


def _micros(time_column: Column) -> Column:
    return F.unix_micros(time_column)


def _utc(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)
