"""Silver's state on disk: whatever becomes of it, silver is a function of bronze; and its turns."""

import random
import re
import shutil
import tempfile
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lakehouse.core.errors import DiskFull, LakehouseError
from lakehouse.silver import journal, store, turns
from lakehouse.silver.folding import Folding
from lakehouse.silver.store import Store
from lakehouse.storage.table import Table
from tests.conftest import drawn, encode, sale, settings_at
from tests.support.events import EVENT
from tests.support.full_disk import disk_at, full
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze
from tests.support.money import assert_audited, assert_whole

OFTEN = {"silver": {"greatest_age": timedelta(0), "bucket_rows": 2}}
SELDOM = {
    "silver": {
        "greatest_age": timedelta(hours=1),
        "finer_persist_interval": timedelta(hours=1),
        "bucket_rows": 2,
    }
}


def events(first, count=8):
    draw = random.Random(first)
    return [
        sale(
            event_id=f"e{first + n}", order_id=f"o{draw.randrange(20)}",
            client_id=f"c{draw.randrange(9)}", product_id=f"p{draw.randrange(3)}",
            country=draw.choice(["Germany", "France"]), quantity=draw.choice([-1, 1, 2, 3]),
        )
        for n in range(count)
    ]  # fmt: skip


def land(lake, first):
    lake.land(encode(*events(first)), first)
    lake.silver.catch_up()


def folder(lake):
    return Path(lake.settings.lake.root, "_state", "sales.silver")


@pytest.fixture
def lake(settings):
    """A lake whose finer tables lag behind its state."""
    lake = Lake(settings.changed(**SELDOM))
    land(lake, 0)
    lake.silver.persist()
    land(lake, 8)
    lake.silver.kept.store.close()
    return lake


def anew(logs):
    return [e for e in logs if "rebuilding the state" in e["event"]]


def test_a_restart_applies_only_what_came_since(lake, monkeypatch):
    lake.land(encode(*events(16)), 16)
    steps = []
    whole = Folding.load
    monkeypatch.setattr(
        Folding, "load", lambda self, kept, step: (steps.append(step), whole(self, kept, step))
    )
    with capture_logs() as logs:
        lake.restart()
        lake.silver.catch_up()
    assert [step.version for step in steps] == [3]
    assert not anew(logs)
    assert_silver_is_a_function_of_bronze(lake)


def lost(lake):
    shutil.rmtree(folder(lake))


def garbage(lake):
    (folder(lake) / "data.mdb").write_bytes(b"no store" * 4096)


def cut(lake):
    data = folder(lake) / "data.mdb"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])


def zeroed(lake):
    """Pages are lost that a power cut had not written; the two headers are there."""
    data = folder(lake) / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole[:8192] + bytes(len(whole) - 8192))


def torn(lake):
    """It was open when the machine's last run ended."""
    (folder(lake) / "in_use").write_text("another run of the machine")


def spoiled(*words):
    """Bits of what it says of itself are others, and its pages are whole."""

    def harm(lake):
        data = folder(lake) / "data.mdb"
        whole = data.read_bytes()
        assert all(word in whole for word in words)
        for word in words:
            whole = whole.replace(word, bytes([word[0] ^ 1]) + word[1:])
        with data.open("r+b") as file:  # in its place: it stays ours
            file.write(whole)

    return harm


def of_another_lake(lake):
    with tempfile.TemporaryDirectory() as root:
        other = Lake(settings_at(Path(root)).changed(**SELDOM))
        for first in (100, 108, 116):
            land(other, first)
        other.silver.kept.store.close()
        lost(lake)
        shutil.copytree(folder(other), folder(lake))


@pytest.mark.parametrize(
    "harm",
    [
        lost, garbage, cut, zeroed, torn, of_another_lake,
        pytest.param(spoiled(b'{"table"'), id="no JSON"),
        pytest.param(spoiled(b'version"'), id="no version"),
        pytest.param(spoiled(b"\xff\xff\xff\xff"), id="pending rows"),
    ],
)  # fmt: skip
def test_a_state_that_cannot_be_believed_is_rebuilt(lake, harm):
    harm(lake)
    with capture_logs() as logs:
        lake.restart()
        land(lake, 16)
    assert anew(logs)
    assert_silver_is_a_function_of_bronze(lake)
    lake.silver.persist()
    lake.restart()
    land(lake, 24)
    assert_silver_is_a_function_of_bronze(lake)


def test_a_state_over_which_folds_fail_again_and_again_is_rebuilt(tmp_path):
    for kept in (None, 1, 1, None):
        state = Store.open(tmp_path / "state", ["a"], {})
        assert state.facts("kept") == kept
        if kept is None:
            with state.writing():
                state.say("kept", 1)
            state.hold()
        else:
            with pytest.raises(ValueError, match="bytes of a value"), state.writing():
                raise ValueError("bytes of a value")
        state.close()


def test_an_older_state_put_back_catches_up(lake, tmp_path):
    shutil.copytree(folder(lake), tmp_path / "kept")
    lake.restart()
    land(lake, 16)
    lake.silver.persist()
    lost(lake)
    (tmp_path / "kept").rename(folder(lake))
    lake.restart()
    land(lake, 24)
    assert_whole(lake, 32)


def test_tables_put_back_under_the_state_are_noticed(lake, tmp_path):
    silver = Path(lake.settings.lake.root, "silver")
    shutil.copytree(silver, tmp_path / "kept")
    lake.restart()
    land(lake, 16)
    lake.silver.persist()
    shutil.rmtree(silver)
    (tmp_path / "kept").rename(silver)
    lake.restart()
    land(lake, 24)
    assert_whole(lake, 32)


def test_a_large_table_waits_and_is_audited_as_it_is(settings):
    with patch.object(turns, "_SMALL", -1), patch.object(turns, "SHARE", 0):
        lake = Lake(settings.changed(**SELDOM))
        land(lake, 0)
        lake.silver.persist()
        for first in range(8, 40, 8):
            land(lake, first)
        versions = {name: one.version for name, one in lake.silver._publishing.held.items() if one}
        assert max(versions.values()) < 5
        assert_audited(lake, 40)
        lake.restart()
        lake.fold()
        assert_silver_is_a_function_of_bronze(lake)
        assert_audited(lake, 40)


def test_a_table_that_is_old_is_published_between_batches_and_the_log_says_its_cost(settings):
    with patch.object(turns, "_SMALL", -1), patch.object(turns, "SHARE", 0):
        lake = Lake(settings.changed(**SELDOM))
        land(lake, 0)
        lake.silver.persist()
        land(lake, 8)
        assert lake.silver._publishing.held["by_client"].version < 2
        lake.silver.maintain()
        assert lake.silver._publishing.held["by_client"].version < 2
        hours = timedelta(hours=4).total_seconds()  # no twentieth pays for the finer ones
        lake.silver._publishing.turns._clock = lambda: time.monotonic() + hours
        with capture_logs() as logs:
            lake.silver.maintain()
            lake.silver.settle()
    assert {one.version for one in lake.silver._publishing.held.values()} == {2}
    assert any("more than a twentieth" in entry["event"] for entry in logs)
    assert_silver_is_a_function_of_bronze(lake)


@pytest.mark.parametrize("name", ["by_country", "product_trends", "client_products"])
def test_a_commit_that_fails_after_it_was_made_is_not_made_twice(settings, monkeypatch, name):
    """Its checkpoint finds no room: the same process tries again, as a flow's end does."""
    lake = Lake(settings.changed(silver={"bucket_rows": 2}))
    land(lake, 0)
    lake.silver.persist()
    whole = Table._checkpoint

    def fails(self, before):
        if self.uri.endswith(name):
            raise OSError(28, "No space left on device")
        whole(self, before)

    with monkeypatch.context() as patched:
        patched.setattr(Table, "_checkpoint", fails)
        lake.land(encode(*events(8)), 8)
        with pytest.raises(OSError, match="No space"):
            lake.fold()
    lake.silver.persist()
    land(lake, 16)
    assert_whole(lake, 24)


def test_what_the_state_could_not_forget_is_not_published_twice(settings, monkeypatch):
    lake = Lake(settings)
    land(lake, 0)

    def fails(self, space, keys):
        raise LakehouseError("state", "cannot be written: no room", "make room")

    lake.land(encode(*events(8)), 8)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "remove", fails)
        with pytest.raises(LakehouseError):
            lake.silver.catch_up()
    lake.silver.persist()
    land(lake, 16)
    assert_silver_is_a_function_of_bronze(lake)
    lake.restart()
    land(lake, 24)
    assert_silver_is_a_function_of_bronze(lake)


def test_what_changes_no_table_is_committed_once_a_greatest_age(settings):
    lake = Lake(settings)
    land(lake, 0)
    lake.silver.persist()
    versions = [table.version for table in lake.silver.every_table()]
    for first in (8, 16):
        lake.land(encode(*events(0)), first)  # copies
        lake.silver.catch_up()
    assert [table.version for table in lake.silver.every_table()] == versions
    lake.silver._publishing.turns._clock = lambda: time.monotonic() + 61
    lake.silver.maintain()
    assert {one.version for one in lake.silver._publishing.held.values()} == {3}
    assert_silver_is_a_function_of_bronze(lake)


STEP = st.sampled_from(["fold", "lag", "restart", "persist", "lose", "put back"])


@drawn(3)
@given(
    st.lists(st.tuples(st.lists(EVENT, min_size=1, max_size=6), STEP), min_size=2, max_size=6),
    st.sampled_from([OFTEN, SELDOM]),
    st.sampled_from([-1, turns._SMALL]),
    st.sampled_from([(0, -(1 << 60)), (journal._FEW, store._SEEN)]),
)
def test_silver_is_the_same_whatever_becomes_of_its_state(steps, sections, small, large):
    with (
        tempfile.TemporaryDirectory() as root,
        patch.object(turns, "_SMALL", small),
        patch.object(journal, "_FEW", large[0]),
        patch.object(store, "_SEEN", large[1]),
    ):
        lake = Lake(settings_at(Path(root, "lake")).changed(**sections))
        kept, first = Path(root, "kept"), 0
        for batch, step in steps:
            landed = lake.land(encode(*batch), first)
            first += len(batch)
            if step == "fold" and lake.silver.version == landed.version - 1:
                lake.silver.take(landed.version - 1, landed.version, landed.rows)
            if step in {"restart", "persist", "lose"}:
                lake.silver.catch_up()
            if step == "persist":
                lake.silver.persist()
            lake.silver.settle()
            if step == "lose":
                lake.silver.kept.store.forget()
            if step == "put back" and folder(lake).exists():
                lake.silver.kept.store.close()
                if kept.exists():
                    shutil.rmtree(folder(lake))
                    kept.rename(folder(lake))
                else:
                    shutil.copytree(folder(lake), kept)
            if step in {"restart", "lose", "put back"}:
                lake.restart()
        lake.silver.catch_up()
        assert_audited(lake, first)
        lake.silver.persist()
        assert_silver_is_a_function_of_bronze(lake)


@pytest.mark.parametrize("writes", [False, True])
def test_a_large_state_stays_in_the_systems_cache_alone(tmp_path, monkeypatch, writes):
    monkeypatch.setattr(store, "_SEEN", 2**20)
    state = Store.open(tmp_path / "state", ["a"], {})
    keys = [n.to_bytes(8, "big") for n in range(20_000)]

    def in_memory():
        told = Path("/proc/self/smaps").read_text("utf-8").split(f"{tmp_path}/state/data.mdb\n")
        return sum(int(re.search(r"Rss: +(\d+)", one)[1]) for one in told[1:])

    with state.writing():
        state.put("a", ((key, bytes(500)) for key in keys))
    with state.writing() if writes else nullcontext():
        assert len(state.get("a", keys)) == 20_000
        assert in_memory() < 4_500  # kB, of 11,000
    state._most = 2**60
    assert len(state.get("a", keys)) == 20_000
    assert in_memory() > 9_000
    state.close()


def test_a_full_disk_is_told_and_what_was_stored_stays(tmp_path):
    with disk_at(tmp_path / "disk") as disk:
        state = Store.open(disk / "state", ["a"], {})

        def fill():
            for number in range(50):
                with state.writing():
                    state.put("a", [(b"%d %06d" % (number, n), bytes(500)) for n in range(99)])

        with state.writing():
            state.put("a", [(b"kept", b"1")])
        for left in (0, 20_000):  # the last write finds no room, or room for a part of it
            with full(disk, left), pytest.raises(DiskFull, match="its disk is full"):
                fill()
        assert state.get("a", [b"kept"]) == {b"kept": b"1"}
        with state.writing():
            state.put("a", [(b"again", b"2")])
        state.close()
        with full(disk, 0), pytest.raises(DiskFull, match="its disk is full"):
            Store.open(disk / "another", ["a"], {})
