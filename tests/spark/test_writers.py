"""Spark's Delta writer and the arrow one land the same rows, whichever takes a batch."""

from datetime import timedelta

import pytest

from lakehouse.ingest.writers.spark import publish_with_spark
from tests.conftest import NOW, decoded, encode, sale
from tests.unit.test_publish import Lake, assert_silver_is_a_function_of_bronze

BATCHES = [
    [*encode(sale(event_id="a"), sale(event_id="b", event_time="2026-11-20T10:00:00Z")), b"{"],
    encode(sale(event_id="a"), sale(event_id="c", event_time="2026-11-20T10:49:00Z", new=1)),
    [*encode(sale(event_id="d"), sale(event_id="d"), sale(event_id="b")), b"[]"],
]


@pytest.mark.parametrize(
    "by_spark", [(True, True, True), (True, False, True), (False, True, False)]
)
def test_both_writers_land_the_same(spark, settings, tmp_path, by_spark):
    arrow, mixed = Lake(settings), Lake(settings.with_root(tmp_path / "mixed"))
    first = 0
    for values, with_spark in zip(BATCHES, by_spark, strict=True):
        times = [NOW + timedelta(seconds=first)] * len(values)
        arrow.land(values, first, times=times)
        if with_spark:
            rows = spark.createDataFrame(decoded(values, first=first, times=times))
            publish_with_spark(mixed.bronze, rows, {0: first + len(values)}, NOW)
        else:
            mixed.land(values, first, times=times)
        first += len(values)
    for table in ("bronze/sales", "quarantine/sales"):
        one, other = (
            lake.rows(table).sort_values("offset").reset_index(drop=True) for lake in (arrow, mixed)
        )
        assert list(one.columns) == list(other.columns)
        assert one.astype(str).equals(other.astype(str))
    mixed.restart()
    assert mixed.bronze.position.ends == arrow.bronze.position.ends
    mixed.silver.catch_up()
    assert_silver_is_a_function_of_bronze(mixed)


def test_a_retry_by_spark_is_cut_at_the_ends(spark, settings):
    lake = Lake(settings)
    lake.land(BATCHES[0], 0)
    lake.restart()
    values = BATCHES[0] + BATCHES[1]
    publish_with_spark(lake.bronze, spark.createDataFrame(decoded(values)), {0: 5}, NOW)
    assert sorted(lake.rows("bronze/sales")["offset"]) == [0, 1, 3, 4]
    assert list(lake.rows("quarantine/sales")["offset"]) == [2]
