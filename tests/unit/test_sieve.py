"""The sieve before a run: it holds back nothing that the run has, and most of what it has not."""

import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from lakehouse.ingest import event_ids, runs
from lakehouse.ingest.event_ids import EventIds
from lakehouse.ingest.seen import Keys, near
from lakehouse.ingest.sieve import Sieve, bits
from lakehouse.ingest.slots import Slots

HOUR = 3_600_000_000
SLOTS = Slots(timedelta(hours=1))
START = 400_000 * HOUR


def random_keys(seed, count):
    """Of times over half an hour, in which each is a copy of its like."""
    draw = np.random.default_rng(seed)
    high, low = (draw.integers(0, 2**64, count, dtype=np.uint64) for _ in range(2))
    return Keys(high, low, START + draw.integers(0, HOUR // 2, count))


def of(high):
    return np.sort(np.array(high, np.uint64))


@pytest.mark.parametrize(
    "given",
    [
        random_keys(1, 20_000).high,
        range(300),  # all in the first word
        [2**64 - 1] * 50,
        [0],
        [],
    ],
    ids=["random", "alike", "one", "zero", "none"],
)
@pytest.mark.parametrize("room", [0, 1, 20_000])
def test_all_that_was_given_passes_in_whatever_pieces_it_came(given, room):
    sieve, given = Sieve(room), of(given)
    for start in range(0, len(given), 777):
        sieve.add(given[start : start + 777])
    assert sieve.passing(given, bits(given)).tolist() == [*range(len(given))]


def test_of_others_few_pass():
    sieve, others = Sieve(20_000), of(random_keys(2, 20_000).high)
    sieve.add(of(random_keys(1, 20_000).high))
    assert len(sieve.passing(others, bits(others))) < len(others) / 20


def held(folder, count, parts):
    """A store, tidied in pieces, of so many random keys; and the keys."""
    keys, ids = random_keys(3, count), EventIds(folder, SLOTS)
    ids.held = SLOTS.near(SLOTS.of(keys.time))
    for part in np.array_split(np.arange(count), parts):
        ids.add(keys.at(part))
        ids.tidy(len(part))
    return ids, keys


@pytest.fixture
def _short_runs(monkeypatch):
    monkeypatch.setattr(event_ids, "SPILL", 2_000)
    monkeypatch.setattr(runs, "_BLOCK", 700)


@pytest.mark.usefixtures("_short_runs")
def test_a_store_of_many_runs_finds_what_a_plain_search_finds_also_after_a_start(tmp_path):
    ids, keys = held(tmp_path, 30_000, 50)
    assert sum(run.sieve is not None for run in ids._runs) > 3
    # known ones, strangers, the first word of one with the second of another, and one too late
    new, some = random_keys(4, 3_000), keys.at(slice(0, 30_000, 10))
    mixed = Keys(some.high, new.low, some.time)
    late = Keys(some.high, some.low, some.time + 2 * HOUR)
    parts = [some, new, mixed, late]
    asked = Keys(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("high", "low", "time")))
    plain = near([(keys.at(keys.order), None)], asked, SLOTS.within)
    assert plain.tolist() == [True] * 3_000 + [False] * 9_000
    assert ids.near(asked).tolist() == plain.tolist()
    ids.save({"of": "now"})
    again = EventIds(tmp_path, SLOTS)
    again.load()
    assert all(run.sieve is not None for run in again._runs)
    assert again.near(asked).tolist() == plain.tolist()


@pytest.mark.usefixtures("_short_runs")
def test_pages_of_runs_do_not_stay_mapped_after_a_large_batch_nor_a_merge(tmp_path, monkeypatch):
    ids, keys = held(tmp_path, 60_000, 40)
    few, many = keys.at(slice(0, 100)), keys.at(slice(0, 60_000, 6))
    monkeypatch.setattr(event_ids, "_LARGE", len(many))

    def in_memory():
        told = Path("/proc/self/smaps").read_text("utf-8", "replace").split(str(tmp_path))
        return sum(int(re.search(r"Rss: +(\d+)", one)[1]) for one in told[1:])

    assert in_memory() == 0
    assert ids.near(few).all()
    assert in_memory() > 0
    assert ids.near(many).all()
    assert in_memory() == 0
    ids.tidy()
    assert in_memory() == 0
