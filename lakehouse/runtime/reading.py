"""Decoded Kafka records: as a stream, or a planned range in parts that fit in memory.

Spark plans a batch by its number of records; while it is read, bytes limit it too. A task
stops once it has its share of ``[stream] max_mb_per_batch``, and the next part of the range
continues from there. But the consumer in the JVM must hold one poll, decompressed: a few
kilobytes in Kafka may become hundreds of megabytes. So a few records of the range are
measured first, to decide how many records one poll may return.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from lakehouse.ingest.decode import PACKED, cuts, decoded_schema, decoder, packed_decoder, unpack
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.headers import AS_TEXT
from lakehouse.ingest.topic import Topic, TopicReader
from lakehouse.ingest.verdict import TimeRules
from lakehouse.model.contract import Contract
from lakehouse.runtime.checkpoint import starting_offsets
from lakehouse.runtime.session import MOST_POLLED, kafka_options
from lakehouse.settings.settings import Settings

_MIB = 1024 * 1024
_POLLED_BYTES = 8 * _MIB
"""Most bytes of decompressed records that one poll may return."""
_FEW = 16
_LEAST = 4 * _MIB
"""Fewest bytes of a task: smaller parts cost more than they save."""
_COLUMNS = ("key", "value", AS_TEXT, "topic", "partition", "offset", "timestamp")


@dataclass(frozen=True)
class Part:
    """Decoded rows in the driver, and the ends of a table that has landed them."""

    rows: pa.Table
    ends: Mapping[int, int]
    record_bytes: int
    """Mean size of the records, in bytes."""


class Reader:
    """Reads a bronze flow's topic. ``packed``: rows come to the driver, one row per Arrow batch."""

    def __init__(
        self,
        spark: SparkSession,
        contract: Contract,
        settings: Settings,
        topic: TopicReader,
        *,
        packed: bool,
    ) -> None:
        self._spark, self._contract, self._settings = spark, contract, settings
        self._product = settings.product(contract.name)
        self._topic, self._packed = topic, packed
        self._partitions = 1

    def stream(self, ends: Ends, topic: Topic) -> DataFrame:
        """A stream of decoded batches that begins at the ends."""
        self._partitions = max(1, len(topic.ranges))
        options = {
            **kafka_options(self._settings.kafka),
            "subscribe": self._product.topic,
            "maxOffsetsPerTrigger": str(self._settings.stream.max_records_per_batch),
            "startingOffsets": starting_offsets(ends, topic.ranges),
        }
        records = self._spark.readStream.format("kafka").options(**options).load()
        return self._decoded(records) if self._packed else self._plain(records)

    def part(self, decoded: DataFrame, upto: Mapping[int, int]) -> Part:
        """The rows that a range's tasks return to the driver: perhaps only the first part of it."""
        batches = decoded.toArrow().to_batches()
        rows = pa.Table.from_batches(unpack(batches), decoded_schema(self._contract))
        taken = sum(sum(batch.column("taken").to_pylist()) for batch in batches)
        return Part(rows, {**upto, **cuts(batches)}, taken // max(1, rows.num_rows))

    def rest(self, ends: Ends, upto: Mapping[int, int], record_bytes: int) -> DataFrame:
        """The part of the range after the ends, decoded, in polls that fit records of this size."""
        return self._decoded(self._range(ends, upto, _polled(record_bytes)))

    def record_bytes(self, ends: Ends, upto: Mapping[int, int]) -> int:
        """Bytes of the largest record among a sample of the range: at its start, and two thirds in.

        A range of few records is not sampled: they fit, whatever their size.
        """
        places: dict[int, list[int]] = {}
        for partition, end in upto.items():
            start = ends.next.get(partition, 0)
            if end - start > _FEW:
                third = (end - start) // 3
                places[partition] = [start, start + third, start + 2 * third]
        return self._topic.greatest(places)

    def fits(self, record_bytes: int) -> bool:
        """Whether the stream's own polls can hold records of this many bytes."""
        return record_bytes * MOST_POLLED <= _POLLED_BYTES * 8

    def _range(self, ends: Ends, upto: Mapping[int, int], polled: int) -> DataFrame:
        left = [p for p, end in sorted(upto.items()) if ends.next.get(p, 0) < end]
        options = {
            **kafka_options(self._settings.kafka),
            # one group per size of polls: Spark keeps consumers, with what they have read
            "kafka.group.id": f"{self._settings.kafka.client_id}-{self._contract.name}-{polled}",
            "kafka.max.poll.records": str(polled),
            "assign": json.dumps({self._product.topic: left}),
            "startingOffsets": starting_offsets(ends, left),
            "endingOffsets": json.dumps({self._product.topic: {str(p): upto[p] for p in left}}),
        }
        return self._spark.read.format("kafka").options(**options).load()

    def _decoded(self, records: DataFrame) -> DataFrame:
        share = self._settings.stream.max_mb_per_batch * _MIB // self._partitions
        function = packed_decoder(self._contract, self._rules, max(_LEAST, share))
        return records.selectExpr(*_COLUMNS).mapInArrow(function, PACKED)

    def _plain(self, records: DataFrame) -> DataFrame:
        schema = from_arrow_schema(decoded_schema(self._contract))
        function = decoder(self._contract, self._rules)
        return records.selectExpr(*_COLUMNS).mapInArrow(function, schema)

    @property
    def _rules(self) -> TimeRules:
        return TimeRules(self._product.earliest_time, self._product.future_tolerance)


def _polled(record_bytes: int) -> int:
    """How many records of this many bytes one poll may return."""
    return min(MOST_POLLED, max(1, _POLLED_BYTES // max(1, record_bytes)))
