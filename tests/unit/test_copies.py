"""Copies count once however far apart partitions are read, wherever a process began again."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.ingest import copies
from tests.conftest import drawn, long, settings_at
from tests.support.copies import HOUR, RECORD, Flow, assert_marked_by_the_rule


@pytest.fixture
def flow(settings):
    return Flow(settings)


def test_a_partition_hours_behind_meets_what_another_brought_before_it(flow):
    """A backlog that is read unevenly: partition 1 first, then 0, the copies an hour apart."""
    flow.land([(1, f"e{n}", n * 10) for n in range(1_000)])
    flow.land([(1, "late", 6 * HOUR)])
    flow.land([(0, f"e{n}", n * 10 + 1) for n in range(1_000)])
    assert flow.counted == 1_001
    assert_marked_by_the_rule(flow)


def test_a_restart_knows_what_a_partition_that_is_behind_will_bring(flow):
    flow.land([(0, f"e{n}", n) for n in range(1_000)] + [(1, "ahead", 5 * HOUR)])
    flow.restart()
    flow.land([(0, f"e{n}", 1_000 + n) for n in range(1_000)])
    assert flow.counted == 1_001


@pytest.mark.parametrize("restart", [False, True])
def test_one_record_with_a_clock_ahead_takes_nothing_from_the_memory(flow, restart):
    flow.land([(0, f"e{n}", n) for n in range(500)])
    flow.land([(0, f"f{n}", 500 + n) for n in range(500)] + [(0, "ahead", 2 * HOUR)])
    if restart:
        flow.restart()
    flow.land([(0, f"{c}{n}", 1_000 + n) for c in "ef" for n in range(500)])
    assert flow.counted == 1_001


def test_statistics_cut_to_milliseconds_hide_no_file(flow):
    flow.land([(0, "a", 0.001_9)])
    flow.restart()
    flow.land([(0, "a", HOUR + 0.001_8)])
    assert flow.counted == 1


BATCH = st.tuples(st.lists(RECORD, min_size=1, max_size=12), st.booleans())


@drawn(5)
@given(st.lists(BATCH, min_size=1, max_size=8))
def test_marks_are_the_rules_in_any_order_of_reading_with_restarts_between(batches):
    with tempfile.TemporaryDirectory() as root:
        flow = Flow(settings_at(Path(root) / "lake"))
        for records, restart in batches:
            if restart:
                flow.restart()
            flow.land(records)
        assert_marked_by_the_rule(flow)


@pytest.mark.parametrize("most", [0, copies.MOST_KEYS, *long(40)])
def test_partitions_out_of_step_and_skewed_producers_over_two_days(settings, monkeypatch, most):
    """Memory that holds little or nothing looks into bronze instead: the marks are the same."""
    monkeypatch.setattr(copies, "MOST_KEYS", most)
    chance, flow = random.Random(7), Flow(settings)
    clocks = {0: 0, 1: 7 * HOUR, 2: 3 * HOUR}
    skews = [0, 0, 0, -2 * HOUR, 5 * HOUR]
    for batch in range(40):
        if batch % 7 == 6:
            flow.restart()
        records = []
        for partition in chance.sample([0, 1, 2], chance.randint(1, 3)):
            for _ in range(20):
                clocks[partition] += chance.randint(1, 600)
                seconds = clocks[partition] + chance.choice(skews)
                records.append((partition, f"e{seconds // 2_000}", seconds))
        flow.land(records)
    assert_marked_by_the_rule(flow)


def test_memory_of_a_steady_flow_is_bounded_by_the_horizon(flow):
    """Two partitions hours apart, twenty hours long: a few hours are held, not all."""
    held = []
    for quarter in range(80):
        base = quarter * 900
        seconds = [(p, base + s + p * 5 * HOUR) for p in (0, 1) for s in range(0, 900, 90)]
        flow.land([(p, f"e{p}-{s}", s) for p, s in seconds])
        held.append(len(flow.bronze.copies))
    an_hour = 2 * 40
    assert max(held) < 11 * an_hour
