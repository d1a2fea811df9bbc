"""Kafka's records, decoded: as a stream, and a planned range in parts that memory has room for.

A batch is bounded by records when Spark plans it, and by bytes when it is read: a task
ends where it has its share of ``[stream] max_mb_per_batch``, and the range goes on from
there. Before that the consumer in the JVM must hold what one poll gives, unpacked: a few
kilobytes of Kafka's may be hundreds of megabytes. So a look at some records of the range
says how many a poll may give.
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
"""What a poll may give, in bytes of records that are unpacked."""
_FEW = 16
_LEAST = 4 * _MIB
"""The least share of a task: below it parts cost more than they save."""
_COLUMNS = ("key", "value", AS_TEXT, "topic", "partition", "offset", "timestamp")


@dataclass(frozen=True)
class Part:
    """Decoded rows that the driver has, and the ends that they bring a table to."""

    rows: pa.Table
    ends: Mapping[int, int]
    record_bytes: int
    """Mean size of the records."""


class Reader:
    """What a bronze flow reads of its topic; ``packed``: to the driver, a row an Arrow batch."""

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
        """Decoded batches from the ends on."""
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
        """What a range's tasks give the driver, which may be less than the range."""
        batches = decoded.toArrow().to_batches()
        rows = pa.Table.from_batches(unpack(batches), decoded_schema(self._contract))
        taken = sum(sum(batch.column("taken").to_pylist()) for batch in batches)
        return Part(rows, {**upto, **cuts(batches)}, taken // max(1, rows.num_rows))

    def rest(self, ends: Ends, upto: Mapping[int, int], record_bytes: int) -> DataFrame:
        """The range from the ends on, decoded for the driver, by polls that fit such records."""
        return self._decoded(self._range(ends, upto, _polled(record_bytes)))

    def record_bytes(self, ends: Ends, upto: Mapping[int, int]) -> int:
        """Size of the greatest record among some of a range: at its start and two thirds of it.

        Of a range of few records none is looked at: they fit, whatever they are.
        """
        places: dict[int, list[int]] = {}
        for partition, end in upto.items():
            start = ends.next.get(partition, 0)
            if end - start > _FEW:
                third = (end - start) // 3
                places[partition] = [start, start + third, start + 2 * third]
        return self._topic.greatest(places)

    def fits(self, record_bytes: int) -> bool:
        """Whether the stream's own polls have room for records of this size."""
        return record_bytes * MOST_POLLED <= _POLLED_BYTES * 8

    def _range(self, ends: Ends, upto: Mapping[int, int], polled: int) -> DataFrame:
        left = [p for p, end in sorted(upto.items()) if ends.next.get(p, 0) < end]
        options = {
            **kafka_options(self._settings.kafka),
            # one group a size of polls: Spark keeps the consumers, and what they have read
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
    """How many records of this size a poll may give."""
    return min(MOST_POLLED, max(1, _POLLED_BYTES // max(1, record_bytes)))
