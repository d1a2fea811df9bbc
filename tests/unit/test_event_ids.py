"""The store of event ids: marks are the rule's whatever is killed, lost, damaged or swapped."""

import random
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import Lake
from lakehouse.ingest import event_ids, runs
from lakehouse.ingest.event_ids import EventIds
from lakehouse.ingest.seen import Keys
from lakehouse.ingest.slots import Slots
from lakehouse.operations.backup import backup, tables_in
from tests.conftest import NOW, drawn, settings_at
from tests.support.copies import HOUR, RECORD, Flow, assert_marked_by_the_rule, every

ANEW = "event ids are read from bronze again"
STEPS = (Step.IDS_WRITTEN, Step.IDS_SAVED, Step.BRONZE_COMMITTED)


class Killed(BaseException):
    """The process ends here: what is in memory is gone, what is on disk stays."""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Runs of few keys, merged in blocks of fewer."""
    monkeypatch.setattr(event_ids, "SPILL", 16)
    monkeypatch.setattr(runs, "_BLOCK", 5)


def state(flow):
    return Lake(flow.settings.lake.root).state("sales.bronze")


def land(flow, records):
    """As a driver does: a batch, then upkeep."""
    flow.land(records)
    flow.bronze.copies.maintain()


def stop(flow):
    flow.bronze.persist()
    flow.restart()


def anew(flow, records):
    """Land after a start; why the store was of no use, empty where it was."""
    with capture_logs() as logs:
        land(flow, records)
    return [entry["reason"] for entry in logs if entry["event"] == ANEW]


@pytest.fixture
def flow(settings):
    return Flow(every(settings))


MOMENT = st.sampled_from([None, None, "stopped", "gone", *STEPS])


@drawn(6)
@given(
    st.lists(st.tuples(st.lists(RECORD, min_size=1, max_size=12), MOMENT), min_size=1, max_size=14)
)
def test_marks_are_the_rules_whenever_the_process_is_killed(batches):
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        flow, due = Flow(every(settings_at(Path(root) / "lake"))), [None]

        def reach(step):
            if step is due[0]:
                raise Killed

        patch.setattr(failpoint, "reach", reach)
        for records, moment in batches:
            due[0] = moment
            try:
                land(flow, records)
                if moment == "stopped":
                    stop(flow)
            except Killed:
                pass
            if moment is not None:
                due[0] = None
                flow.restart()
        assert_marked_by_the_rule(flow)


def test_a_week_of_batches_out_of_step_with_kills_between(settings):
    chance, flow = random.Random(3), Flow(every(settings, 3))
    clocks = {0: 0, 1: 7 * HOUR}
    for batch in range(60):
        records = []
        for partition in chance.sample([0, 1], chance.randint(1, 2)):
            for _ in range(20):
                clocks[partition] += chance.randint(1, 300)
                records.append((partition, f"e{clocks[partition] // 900}", clocks[partition]))
        land(flow, records)
        if batch % 9 == 8:
            stop(flow)
        elif batch % 7 == 6:
            flow.restart()
    assert_marked_by_the_rule(flow)
    assert len(list(state(flow).glob("*.run"))) < 12


def test_a_start_reads_what_bronze_gained_since_and_nothing_else(flow):
    for first in range(0, 100, 20):
        land(flow, [(0, f"e{n}", n) for n in range(first, first + 20)])
    flow.bronze.persist()
    old = [Path(file) for file in flow.bronze.bronze.files()]
    land(flow, [(0, "later", 200)])
    kept = {file: file.read_bytes() for file in old}
    for file, data in kept.items():
        file.write_bytes(b"\0" * len(data))  # a start looks at names and sizes
    flow.restart()
    assert anew(flow, [(0, f"e{n}", 300) for n in range(100)] + [(0, "later", 301)]) == []
    for file, data in kept.items():
        file.write_bytes(data)
    assert_marked_by_the_rule(flow)
    assert flow.counted == 101


def _lost(folder, _):
    shutil.rmtree(folder)


def _cut(folder, _):
    run = max(folder.glob("*.run"), key=lambda p: p.stat().st_size)
    run.write_bytes(run.read_bytes()[:-1])


def _flipped(folder, _):
    run = max(folder.glob("*.run"), key=lambda p: p.stat().st_size)
    data = bytearray(run.read_bytes())
    data[3] ^= 1
    run.write_bytes(data)


def _without_a_run(folder, _):
    next(folder.glob("*.run")).unlink()


def _another_number(folder, _):
    store = folder / "store.json"
    store.write_text(store.read_text().replace("version", "versiom"))


def _garbage(folder, _):
    (folder / "store.json").write_bytes(b"\xff{")


def _of_another_lake(folder, tmp_path):
    other = Flow(every(settings_at(tmp_path / "other")))
    land(other, [(0, f"x{n}", n) for n in range(40)])
    other.bronze.persist()
    shutil.rmtree(folder)
    shutil.copytree(state(other), folder)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_lost, None),
        (_cut, "another length"),
        (_flipped, "not what was written"),
        (_without_a_run, "cannot be read"),
        (_another_number, "not what was written"),
        (_garbage, "cannot be read"),
        (_of_another_lake, "another bronze table"),
    ],
)
def test_a_store_that_is_lost_or_damaged_is_noticed_and_rebuilt(flow, tmp_path, harm, reason):
    for first in range(0, 100, 20):
        land(flow, [(0, f"e{n}", n) for n in range(first, first + 20)])
    stop(flow)
    harm(state(flow), tmp_path)
    found = anew(flow, [(0, f"e{n}", 300) for n in range(100)])
    assert reason is None or [reason in text for text in found] == [True]
    stop(flow)
    assert anew(flow, [(0, f"e{n}", 400) for n in range(50)]) == []
    assert_marked_by_the_rule(flow)
    assert flow.counted == 100


def test_an_older_store_that_was_put_back_is_brought_up_to_date(flow, tmp_path):
    land(flow, [(0, f"e{n}", n) for n in range(20)])
    stop(flow)
    shutil.copytree(state(flow), tmp_path / "older")
    land(flow, [(0, f"f{n}", 30) for n in range(20)])
    stop(flow)
    shutil.rmtree(state(flow))
    (tmp_path / "older").rename(state(flow))
    assert anew(flow, [(0, f"{c}{n}", 60) for c in "ef" for n in range(20)]) == []
    assert flow.counted == 40
    assert_marked_by_the_rule(flow)


def test_a_store_that_is_ahead_of_bronze_is_rebuilt(flow, tmp_path):
    """Bronze is put back from a copy: what came since is no copy of anything any more."""
    land(flow, [(0, "a", 0)])
    flow.bronze.persist()
    bronze, ends = Path(flow.bronze.bronze.uri), dict(flow.next)
    shutil.copytree(bronze, tmp_path / "copy")
    land(flow, [(0, "b", 1)])
    land(flow, [(0, "c", 2)])
    flow.bronze.persist()
    for again in ([(0, "b", 10)], [(0, n, 11) for n in "bcd"]):
        shutil.rmtree(bronze)
        shutil.copytree(tmp_path / "copy", bronze)
        flow.next = dict(ends)
        flow.restart()
        for _ in range(len(again)):  # with as many versions as before, and more
            land(flow, again[:1])
        land(flow, again)
        assert_marked_by_the_rule(flow)


def test_a_key_that_comes_without_end_is_held_a_few_times(flow):
    for start in range(0, 3_000, 100):
        land(flow, [(0, "hot", second) for second in range(start, start + 100)])
    assert len(flow.bronze.copies) < 100
    assert flow.counted == 1


def test_a_batch_that_bronze_refused_is_not_held(flow):
    land(flow, [(0, "a", 0)])
    refused = [(0, "b", 1)]
    flow.bronze.bronze.append, whole = None, flow.bronze.bronze.append
    with pytest.raises(TypeError):
        flow.land(refused)
    flow.bronze.bronze.append = whole
    stop(flow)
    land(flow, [(0, "b", 2)])
    assert_marked_by_the_rule(flow)
    assert flow.counted == 2


def test_what_is_let_go_leaves_the_disk(flow):
    sizes = []
    for hour in range(40):
        land(flow, [(0, f"e{hour}-{n}", hour * 1_800 + n) for n in range(60)])
        sizes.append(sum(file.stat().st_size for file in state(flow).glob("*")))
    assert max(sizes[20:]) <= 1.5 * max(sizes[8:20])


def test_the_store_is_no_table_and_in_no_backup(flow, tmp_path):
    land(flow, [(0, "a", 0)])
    stop(flow)
    assert (state(flow) / "store.json").exists()
    assert tables_in(flow.settings.lake.root) == ["bronze.sales", "quarantine.sales"]
    backup(flow.settings, tmp_path / "backup", NOW, lambda _: None)
    assert not [p for p in (tmp_path / "backup").rglob("*") if "_state" in p.parts]


HASHES = st.integers(0, 12)
"""Few: each comes often, and runs have many of one hash."""
KEY = st.tuples(HASHES, st.integers(0, 3), st.integers(0, 40))
DONE = st.sampled_from(["", "", "tidy", "tidy all", "save", "load", "drop"])


def keys_of(found):
    high, low, time = zip(*found, strict=True)
    kinds = (np.uint64, np.uint64, np.int64)
    hour = 3_600_000_000
    columns = (high, low, [t * hour // 8 + t for t in time])
    return Keys(*(np.array(c, kind) for c, kind in zip(columns, kinds, strict=True)))


@hypothesis(max_examples=150)
@given(st.lists(st.tuples(st.lists(KEY, min_size=1, max_size=30), DONE), max_size=20))
def test_what_is_held_is_found_in_whatever_runs_it_lies(parts):
    """Against a list of all keys: each that lies in a slot that is held, and no other.

    A slot is an hour's eighth, and a key's third number its slot.
    """
    with tempfile.TemporaryDirectory() as folder:
        slots = Slots(timedelta(hours=1))
        ids, facts, gone = EventIds(Path(folder), slots), [], set()
        saved = (set(), [])
        for number, (came, done) in enumerate(parts):
            found = [key for key in came if key[2] not in gone]
            if not found:
                continue
            new = keys_of(found)
            ids.held |= set(slots.of(new.time).tolist())
            ids.add(new)
            facts += zip(new.high.tolist(), new.low.tolist(), new.time.tolist(), strict=True)
            if done.startswith("tidy"):
                ids.tidy(None if done == "tidy all" else len(new))
            elif done == "save":
                ids.save({"number": number})
                saved = set(ids.held), [*facts]
            elif done == "load":
                ids = EventIds(Path(folder), slots)
                ids.load()
                held, facts = saved[0], [*saved[1]]
                assert ids.held == held
            elif done == "drop":
                let_go = {slot for slot in ids.held if slot < max(ids.held) - 9}
                ids.drop(set(let_go))
                gone |= let_go
        asked = keys_of([(h, w, t) for h in range(13) for w in (0, 2) for t in range(0, 41, 3)])
        marks = ids.near(asked).tolist()
        for high, low, time, mark in zip(
            asked.high.tolist(), asked.low.tolist(), asked.time.tolist(), marks, strict=True
        ):
            near = [
                t for h, w, t in facts if (h, w) == (high, low) and abs(t - time) <= slots.within
            ]
            assert mark or not any(t // slots.width in ids.held for t in near)
            assert near or not mark
