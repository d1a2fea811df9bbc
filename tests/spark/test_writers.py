"""One suite for both writers of bronze; and both on one table land the same rows."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from chispa import assert_df_equality

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.ingest.writers import no_check
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.ingest.writers.spark import SparkWriter
from tests.conftest import NOW, decoded, encode, long, sale
from tests.support.batches import BATCHES
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze


@pytest.fixture(params=["arrow", "spark"])
def write(request):
    """Land values by one writer: ``write(lake, values, first, **more)``."""

    def land(lake, values, first, times=None, check=no_check):
        rows = decoded(values, first=first, times=times)
        ends = {0: first + len(values)}
        if request.param == "arrow":
            return ArrowWriter(lake.bronze).publish(rows, ends, NOW, check)
        spark = request.getfixturevalue("spark")
        return SparkWriter(lake.bronze).publish(spark.createDataFrame(rows), ends, NOW, check)

    return land


# Each writer alone keeps the protocol


def test_a_retry_is_cut_at_the_ends(write, settings):
    lake = Lake(settings)
    write(lake, BATCHES[0], 0)
    lake.restart()
    landed = write(lake, BATCHES[0] + BATCHES[1], 0)
    assert (landed.good, landed.bad) == (2, 0)
    assert sorted(lake.rows("bronze/sales")["offset"]) == [0, 1, 3, 4]
    assert list(lake.rows("quarantine/sales")["offset"]) == [2]


def test_a_crash_between_quarantine_and_bronze_doubles_nothing(write, settings):
    lake = Lake(settings)
    before = Path(lake.bronze.bronze.uri)
    shutil.copytree(before, before.with_name("kept"))
    values = [b"{", *encode(sale(event_id="a")), b"["]
    write(lake, values, 0)
    shutil.rmtree(before)
    before.with_name("kept").rename(before)  # quarantine committed, bronze did not
    lake.restart()
    write(lake, values, 0)
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [0, 2]
    assert list(lake.rows("bronze/sales")["offset"]) == [1]


def test_a_check_that_fails_commits_nothing(write, settings):
    lake = Lake(settings)

    def refuse():
        raise ServiceUnavailable("topic", "is another one", "wait")

    with pytest.raises(ServiceUnavailable):
        write(lake, BATCHES[0], 0, check=refuse)
    assert (lake.bronze.bronze.refresh(), lake.bronze.quarantine.refresh()) == (0, 0)
    write(lake, BATCHES[0], 0)
    assert sorted(lake.rows("bronze/sales")["offset"]) == [0, 1]


def test_a_batch_says_what_it_held(write, settings):
    lake = Lake(settings)
    write(lake, BATCHES[0], 0)
    landed = write(lake, BATCHES[1], 3)
    assert (landed.good, landed.bad, landed.late, landed.duplicates) == (2, 0, 1, 1)
    assert landed.version == lake.bronze.bronze.version == 2
    assert lake.bronze.bronze.last_note("late") == 1


# Both on one table


@pytest.mark.parametrize(
    "by_spark",
    [(True, False, True), *long(((True, True, True),), ((False, True, False),))],
)
def test_both_writers_land_the_same(spark, settings, tmp_path, by_spark):
    """To pandas; and to Spark: types, nulls, order of columns and partition values."""
    arrow, mixed = Lake(settings), Lake(settings.with_root(tmp_path / "mixed"))
    first = 0
    for values, with_spark in zip(BATCHES, by_spark, strict=True):
        times = [NOW + timedelta(seconds=first)] * len(values)
        arrow.land(values, first, times=times)
        if with_spark:
            rows = spark.createDataFrame(decoded(values, first=first, times=times))
            SparkWriter(mixed.bronze).publish(rows, {0: first + len(values)}, NOW)
        else:
            mixed.land(values, first, times=times)
        first += len(values)
    for table in ("bronze/sales", "quarantine/sales"):
        one, other = (
            lake.rows(table).sort_values("offset").reset_index(drop=True) for lake in (arrow, mixed)
        )
        assert list(one.columns) == list(other.columns)
        assert len(one) > 0
        assert one.astype(str).equals(other.astype(str))
        one, other = (
            spark.read.format("delta").load(f"{lake.settings.lake.root}/{table}")
            for lake in (arrow, mixed)
        )
        assert_df_equality(one, other, ignore_row_order=True)
    mixed.restart()
    assert mixed.bronze.position.ends == arrow.bronze.position.ends
    mixed.silver.catch_up()
    assert_silver_is_a_function_of_bronze(mixed)
