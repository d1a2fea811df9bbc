"""State that a stranger's lake brings along is not opened: it is rebuilt from the tables."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lakehouse.core import own
from lakehouse.core.errors import ServiceUnavailable
from lakehouse.ingest.event_ids import EventIds
from lakehouse.ingest.runs import RunDamaged
from lakehouse.ingest.slots import Slots
from lakehouse.silver.store import Store
from tests.conftest import encode, sale, settings_at
from tests.hostile.verbs import limited, outcome
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze

NOT_OURS = "the state was not made here, and is rebuilt"
FOLLOWED = """
import sys
from pathlib import Path
from tests.conftest import settings_at
from tests.support.lake import Lake
lake = Lake(settings_at(Path(sys.argv[1])))
lake.fold()
"""
READ = """
import sys
from pathlib import Path
from lakehouse.silver.store import Store
state = Store.open(Path(sys.argv[1]), ["a"], {})
print(len(state.get("a", [n.to_bytes(2, "big") for n in range(999)])))
state.close()
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from lakehouse.silver.store import Store
state = Store.open(Path(sys.argv[1]), ["a"], {})
assert state.get("a", [b"key"]) == {b"key": b"kept"}
with state.writing():
    state.say("published", {})
os.kill(os.getpid(), signal.SIGKILL)
"""
PAGE = 4096


def state(root):
    return root / "_state" / "sales.silver"


def gained(root):
    """The logs of a flow that lands and folds one more event."""
    with capture_logs() as logs:
        lake = Lake(settings_at(root))
        lake.land(encode(sale(event_id="new", client_id="new")), 20)
        lake.silver.catch_up()
    lake.silver.persist()
    assert_silver_is_a_function_of_bronze(lake)
    lake.silver.kept.store.close()
    return [entry["event"] for entry in logs]


def spoiled(data):
    """The database with pointers of its pages that lead far out of it."""
    pages = bytearray(data)
    for page in range(2, len(pages) // PAGE):
        pages[page * PAGE + 16 : page * PAGE + 64] = b"\xff\x7f" * 24
    return bytes(pages)


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_database_that_would_end_the_process_is_not_opened(lake, is_marked):
    """The stranger's own mark is none of ours."""
    data = state(lake) / "data.mdb"
    data.write_bytes(spoiled(data.read_bytes()))
    if is_marked:
        (state(lake) / "made_here").write_text("0" * 64)
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWED, str(lake)], cwd=Path(__file__).parents[2], timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    gained(lake)


def test_pages_of_ours_that_end_the_process_are_thrown_away_after_the_second_time(tmp_path):
    """A disk that spoiled them leaves the mark, which is ours."""
    state = Store.open(tmp_path / "state", ["a"], {})
    with state.writing():
        state.put("a", ((n.to_bytes(2, "big"), bytes(90)) for n in range(999)))
    state.close()
    data = tmp_path / "state" / "data.mdb"
    with data.open("r+b") as file:
        file.write(spoiled(data.read_bytes()))
    words = [sys.executable, "-c", READ, str(tmp_path / "state")]
    tried = [
        subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, check=False)
        for _ in range(3)
    ]
    assert [done.returncode < 0 for done in tried] == [True, True, False]
    assert tried[2].stdout.endswith(b"0\n")
    assert b"the state ended the processes that read it" in tried[2].stdout + tried[2].stderr


def test_a_state_outlives_flows_that_are_killed_before_they_apply_anything(tmp_path):
    """As an idle flow is, which opened the state and read it well."""
    state = Store.open(tmp_path / "state", ["a"], {})
    with state.writing():
        state.put("a", [(b"key", b"kept")])
    state.close()
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "state")], cwd=Path(__file__).parents[2],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


@pytest.mark.parametrize("what", ["a file", "a folder in it", "a pipe"])
def test_odd_things_in_its_place_are_removed(lake, what):
    shutil.rmtree(state(lake))
    if what == "a file":
        state(lake).write_text("x")
    else:
        (state(lake) / "data.mdb").mkdir(parents=True)
        os.mkfifo(state(lake) / "made_here")
    with limited(60):
        assert NOT_OURS in gained(lake)


def test_a_copy_goes_on_and_what_was_made_here_is_kept(lake, tmp_path):
    """A copy, and a backup that is restored, have state that is made once."""
    assert NOT_OURS in gained(lake)
    assert NOT_OURS not in gained(lake)
    moved = tmp_path / "moved"
    lake.rename(moved)
    assert NOT_OURS not in gained(moved)
    shutil.copytree(moved, tmp_path / "copy")
    assert NOT_OURS in gained(tmp_path / "copy")


def test_a_file_written_in_the_place_of_ours_is_noticed(lake, tmp_path):
    gained(lake)
    theirs = tmp_path / "theirs"
    theirs.write_bytes(spoiled((state(lake) / "data.mdb").read_bytes()))
    theirs.replace(state(lake) / "data.mdb")
    assert NOT_OURS in gained(lake)


def test_ids_of_a_stranger_name_no_file_outside(tmp_path):
    """A pipe, here: reading it would wait for ever."""
    folder = tmp_path / "ids"
    folder.mkdir()
    os.mkfifo(tmp_path / "pipe")
    run = [["../pipe", 1, 1, [0, 0, 0]], {"0": 1}]
    body = json.dumps({"format": 1, "record": {"version": 0}, "held": [0], "runs": [run]})
    for code in (zlib.crc32(body.encode()), "", None, "0" * 64):
        (folder / "store.json").write_text(json.dumps([body, code]))
        with limited(), pytest.raises(RunDamaged, match="not what was written here"):
            EventIds(folder, Slots(timedelta(hours=1))).load()


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user who has no key yet."""
    folder = tmp_path / "user"
    monkeypatch.setenv("LAKEHOUSE_STATE", str(folder))
    return folder


def test_a_mark_is_of_this_user_this_folder_and_these_files(user, tmp_path, monkeypatch):
    folder, file = tmp_path / "marked", tmp_path / "marked" / "file"
    folder.mkdir()
    file.write_text("a")
    assert not own.is_marked(folder, "file")
    own.mark(folder, "file")
    file.write_text("what we write later")
    assert own.is_marked(folder, "file")
    assert (user / "key").stat().st_mode & 0o777 == 0o600
    shutil.copytree(folder, tmp_path / "copied")
    assert not own.is_marked(tmp_path / "copied", "file")
    monkeypatch.setenv("LAKEHOUSE_STATE", str(tmp_path / "another"))
    assert not own.is_marked(folder, "file")
    monkeypatch.undo()
    file.unlink()
    file.write_text("another")
    assert not own.is_marked(folder, "file")


def test_without_a_state_folder_nothing_is_ours_and_flows_go_on(lake, tmp_path, monkeypatch):
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("LAKEHOUSE_STATE", str(tmp_path / "no folder"))
    for _ in range(2):
        assert NOT_OURS in gained(lake)


def test_a_key_that_others_can_write_is_not_believed(user, tmp_path):
    assert own.mac(b"a")
    (user / "key").chmod(0o666)
    own._key.cache_clear()
    with pytest.raises(ServiceUnavailable, match="others can write to it"):
        own._key(user)
    assert own.mac(b"a") == ""


def test_a_file_for_the_folder_of_state_is_told(lake):
    shutil.rmtree(lake / "_state")
    (lake / "_state").write_text("x")
    assert "a file is in the place of it" in outcome("follow", lake)
