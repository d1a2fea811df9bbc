"""Where a bronze flow's rows come from: executors on a cluster, a process on one machine.

Spark plans either's ranges. On a cluster its executors read and decode them; on one
machine :mod:`lakehouse.ingest.reader` has read them already, and Spark's own rows are
never asked for.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from lakehouse.ingest.decode import decoded_schema, decoder
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.headers import AS_TEXT
from lakehouse.ingest.left_out import spark_columns
from lakehouse.ingest.reader import Start
from lakehouse.ingest.reader.process import EARLIEST, ReaderProcess, Taken
from lakehouse.ingest.topic import Topic
from lakehouse.ingest.verdict import TimeRules
from lakehouse.model.contract import Contract
from lakehouse.runtime.checkpoint import starting_offsets
from lakehouse.runtime.session import kafka_options
from lakehouse.settings.kafka_client import reader_options
from lakehouse.settings.settings import Settings

_MIB = 1024 * 1024
_TIMES = 3
"""A planned range is waited for so many times as long as one answer of the broker."""


def planned(spark: SparkSession, settings: Settings, ends: Ends, topic: Topic) -> DataFrame:
    """The topic as a stream of Kafka's records, from the ends on."""
    options = {
        **kafka_options(settings.kafka),
        "subscribe": topic.name,
        "maxOffsetsPerTrigger": str(settings.stream.max_records_per_batch),
        "startingOffsets": starting_offsets(ends, topic.ranges),
    }
    return spark.readStream.format("kafka").options(**options).load()


def decoded(records: DataFrame, contract: Contract, settings: Settings) -> DataFrame:
    """Kafka's records, decoded by the executors."""
    most = settings.bronze.max_record_mb * _MIB
    columns = (*spark_columns(AS_TEXT, most), "topic", "partition", "offset", "timestamp")
    schema = from_arrow_schema(decoded_schema(contract))
    function = decoder(contract, rules(contract, settings))
    return records.selectExpr(*columns).mapInArrow(function, schema)


def rules(contract: Contract, settings: Settings) -> TimeRules:
    """The rules of time of a product's events."""
    product = settings.product(contract.name)
    return TimeRules(product.earliest_time, product.future_tolerance)


class LocalReader:
    """The reader's process, as a flow uses it."""

    def __init__(self, contract: Contract, settings: Settings) -> None:
        self._most_bytes = settings.stream.max_mb_per_batch * _MIB
        topic = settings.product(contract.name).topic
        start = Start(
            reader_options(settings.kafka), pickle.dumps(settings.kafka), topic, contract,
            rules(contract, settings), largest=settings.bronze.max_record_mb * _MIB,
            ahead=self._most_bytes,
        )  # fmt: skip
        self._process = ReaderProcess(
            start, _TIMES * settings.kafka.request_timeout.total_seconds()
        )

    def begin(self, ends: Ends, topic: Topic) -> None:
        """Begin to read on from the ends, before anything is planned."""
        self._process.begin({p: ends.next.get(p, EARLIEST) for p in topic.ranges})

    def part(
        self,
        ends: Ends,
        first: Mapping[int, int],
        upto: Mapping[int, int],
        stopping: Callable[[], bool],
    ) -> Taken | None:
        """Rows from the ends on, up to those planned or as many bytes as a commit may have.

        Of a partition with a ``first`` offset nothing below it. None where the flow stops.
        ReaderFault where Kafka lacks what comes next.
        """
        begin = {p: max(ends.next.get(p, EARLIEST), first.get(p, EARLIEST)) for p in upto}
        self._process.begin(begin)
        return self._process.take(upto, self._most_bytes, stopping)

    def close(self) -> None:
        """End the process."""
        self._process.close()
