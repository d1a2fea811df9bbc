"""Executors leave out what the reader of one machine does: both paths give the same row."""

from datetime import UTC, datetime

import pyarrow as pa
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from lakehouse.runtime.reading import decoded
from tests.conftest import SALES
from tests.support.content import TIME
from tests.unit.test_left_out import SENTS, rows

HEADERS = ArrayType(
    StructType([StructField("key", StringType()), StructField("value", BinaryType())])
)
KAFKA = StructType(
    [
        StructField("key", BinaryType()),
        StructField("value", BinaryType()),
        StructField("headers", HEADERS),
        StructField("topic", StringType()),
        StructField("partition", IntegerType()),
        StructField("offset", LongType()),
        StructField("timestamp", TimestampType()),
    ]
)


def test_executors_give_the_same_rows(spark, settings):
    one = settings.changed(bronze={"max_record_mb": 1})
    when = datetime.fromtimestamp(TIME / 1000, UTC)
    given = [
        (key, value, headers or None, "sales", 0, offset, when)
        for offset, (key, value, headers) in enumerate(SENTS)
    ]
    found = decoded(spark.createDataFrame(given, KAFKA), SALES, one).toArrow()
    ours = rows(*SENTS)

    def told(table: pa.Table):
        return sorted(table.to_pylist(), key=lambda row: row["offset"])

    for row, wanted in zip(told(found), told(ours), strict=True):
        assert row == wanted
