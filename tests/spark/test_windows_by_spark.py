"""Windows, sessions and sketches against Spark's own, on the same events, none of them late."""

import pytest
from pyspark.sql import functions as F  # noqa: N812  # the field's name for it

from lakehouse.products.activity.contract import ACTIVITY, Activity
from producers.activity.visits import Visits
from tests.conftest import NOW
from tests.support.activity import Lake

SECOND = 1_000_000
HLL_ERROR = 0.05


@pytest.fixture(scope="module")
def done():
    found = [*Visits(11, users=150, pages=20).history(1500, NOW, hours=9)]
    return [one for one in found if one.type in {"page_view", "click"}]


@pytest.fixture
def lake(settings, done):
    lake = Lake(settings)
    lake.land(*map(record, done))
    lake.silver.persist()
    return lake


def record(one):
    event = Activity(event_id=f"{one.user}{one.time}", event_time=one.time, user_id=one.user,
                     page_url=one.page, event_type=one.type)  # fmt: skip
    return ACTIVITY.encode(event)


@pytest.fixture
def events(spark, done):
    rows = [(d.time, d.user, d.page, d.type) for d in done]
    return spark.createDataFrame(rows, "at timestamp, user string, page string, type string")


def micros(column):
    return F.unix_micros(column)


def test_spark_makes_the_same_windows(lake, events):
    views = events.where("type = 'page_view'").groupBy(F.window("at", "1 minute"), "page")
    wanted = views.count().select(micros("window.start"), micros("window.end"), "page", "count")
    columns = "epoch_us(window_start) AS s, epoch_us(window_end) AS e, page_url, views"
    held = [tuple(row.values()) for row in lake.rows("silver.activity_page_view_counts", columns)]
    assert sorted(held) == sorted(map(tuple, wanted.collect()))


def test_spark_makes_the_same_sliding_windows_and_reads_the_sketches(lake, events, spark):
    slides = events.groupBy(F.window("at", "5 minutes", "1 minute"))
    counted = slides.agg(F.count("*"), F.hll_sketch_agg("user", 12), F.countDistinct("user"))
    wanted = {row[0]["start"].timestamp(): (row[1], bytes(row[2]), row[3])
              for row in counted.collect()}  # fmt: skip
    held = lake.rows("silver.activity_active_users", "window_start, events, users, users_sketch")
    assert {row["window_start"].timestamp() for row in held} == wanted.keys()
    rows = []
    for row in held:
        events_, theirs, exact = wanted[row["window_start"].timestamp()]
        assert row["events"] == events_
        assert abs(row["users"] - exact) <= max(1, HLL_ERROR * exact)
        rows.append((bytearray(row["users_sketch"]), bytearray(theirs), exact))
    both = spark.createDataFrame(rows, "ours binary, theirs binary, exact long").select(
        F.hll_sketch_estimate("ours"), F.hll_sketch_estimate(F.hll_union("ours", "theirs")), "exact"
    )
    for ours, united, exact in both.collect():
        assert abs(ours - exact) <= max(1, HLL_ERROR * exact)
        assert abs(united - exact) <= max(1, HLL_ERROR * exact)  # the hash is the same


def test_spark_makes_the_same_sessions(lake, events):
    gap = 30 * 60 * SECOND
    made = events.groupBy(F.session_window("at", "30 minutes"), "user").agg(
        F.count_if(F.col("type") == "page_view").alias("pages"),
        F.count_if(F.col("type") == "click").alias("clicks"),
    )
    wanted = [
        (user, start, end - gap, pages, clicks)
        for user, start, end, pages, clicks in made.select(
            "user", micros("session_window.start"), micros("session_window.end"),
            "pages", "clicks",
        ).collect()
    ]  # fmt: skip
    columns = "user_id, epoch_us(session_start) AS s, epoch_us(session_end) AS e, pages, clicks"
    held = [tuple(row.values()) for row in lake.rows("silver.activity_user_sessions", columns)]
    assert sorted(held) == sorted(wanted)
