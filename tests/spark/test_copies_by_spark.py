"""Spark's writer marks copies as the other does: clocks that are wrong, hours that come twice."""

import os
import time
from datetime import UTC, datetime

import pytest

from lakehouse.ingest.writers.spark import SparkWriter, _recent
from tests.conftest import NOW, long
from tests.support.copies import HOUR, Flow, assert_marked_by_the_rule

BATCHES = [
    [(0, f"e{n}", n * 60) for n in range(40)] + [(1, "ahead", 5 * HOUR)],
    [(1, f"e{n}", 3 * HOUR + n * 60) for n in range(40)] + [(0, "e3", -2 * HOUR)],
    [(0, f"e{n}", 1_800 + n * 60) for n in range(40)] + [(0, "ahead", 5 * HOUR + 1)],
]


class BySpark(Flow):
    """The same flow, some of its batches committed by Spark."""

    def __init__(self, settings, spark, turns):
        self.spark, self.turns = spark, list(turns)
        super().__init__(settings)

    def publish(self, rows):
        if not self.turns.pop(0):
            return super().publish(rows)
        rows = self.spark.createDataFrame(rows)
        return SparkWriter(self.bronze).publish(rows, self.next, NOW)


@pytest.fixture
def berlin(monkeypatch):
    """A machine whose clock is set back an hour in October."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
    assert os.environ.get("TZ") != "Europe/Berlin"


@pytest.mark.parametrize(
    "turns",
    [(True, False, True), *long(((True, True, True),), ((False, True, False),))],
)
def test_partitions_out_of_step_are_marked_by_the_rule(spark, settings, turns):
    flow = BySpark(settings, spark, turns)
    for records in BATCHES:
        flow.land(records, event_time="2026-11-20T08:00:00Z")
    assert flow.counted == 82
    assert_marked_by_the_rule(flow)


def test_the_hour_that_comes_twice_is_two_hours(spark, settings, berlin):
    """00:20 and 01:20 UTC are both twenty past two in Berlin, the night the clocks go back."""
    midnight = (datetime(2026, 10, 25, tzinfo=UTC) - NOW).total_seconds()
    flow = BySpark(settings, spark, (True, True, True))
    for minutes, newest in ((-20, "2026-10-24T23:39:00Z"), (20, "2026-10-25T00:19:00Z"),
                            (70, "2026-10-25T01:09:00Z")):  # fmt: skip
        flow.land([(0, "a", midnight + minutes * 60)], event_time=newest)
        assert flow.bronze.position.ends.newest == datetime.fromisoformat(newest)
    assert flow.counted == 1


def test_files_of_other_hours_are_not_read(spark, settings):
    flow = BySpark(settings, spark, [False] * 12)
    for hour in range(12):
        flow.land([(0, f"e{hour}", hour * 3 * HOUR)])
    good = spark.createDataFrame([(NOW,)], "kafka_time timestamp")
    read = _recent(flow.bronze, good)
    read.collect()
    scans = read._jdf.queryExecution().executedPlan().collectLeaves()
    assert scans.apply(0).metrics().apply("numFiles").value() == 1
