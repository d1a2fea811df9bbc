"""Files of a lake that are nothing but large, or deep: told in words, without being read whole."""

import json
import os

import pytest

from lakehouse.core.errors import TableDamaged
from lakehouse.core.within import Outside
from lakehouse.storage.increments import increments, rows_between
from lakehouse.storage.log import notes
from lakehouse.storage.old_files import lowest_applied
from producers.cdc.state import read_state
from tests.hostile.attacks import adds, first_file, home, log_of, newest
from tests.hostile.verbs import limited, outcome

DEEP = "[" * 200_000 + "]" * 200_000
HOLE = 400 * 2**30
"""Bytes that a file claims: no disk has to have them."""
VERBS = ["tables", "history", "doctor --deep", "explore", "audit", "maintain", "erase", "follow"]


def hollow(path):
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(HOLE)


def next_commit(root):
    last = newest(root, "bronze/sales")
    return last.with_name(f"{int(last.stem) + 1:020}.json")


def hint(root):
    return log_of(root, "bronze/sales") / "_last_checkpoint"


@pytest.mark.parametrize("place", [next_commit, hint])
@pytest.mark.parametrize("verb", VERBS)
def test_a_log_file_that_is_a_hole_is_damage(lake, place, verb):
    hollow(place(lake))
    assert "more than a commit has" in outcome(verb, lake)


def test_an_old_commit_that_is_a_hole_is_damage(lake):
    """Of a log with a checkpoint, which engines do not read it for."""
    hollow(log_of(lake, "bronze/sales") / f"{2:020}.json")
    assert outcome("history", lake)


@pytest.mark.parametrize("text", [DEEP, '{"version": 1e400}', '{"version": {}}'])
@pytest.mark.parametrize("verb", ["tables", "maintain"])
def test_a_pointer_that_says_no_number_is_none(lake, verb, text):
    hint(lake).write_text(text)
    assert outcome(verb, lake)


@pytest.mark.parametrize("stats", [DEEP, "[1", '{"numRecords": "x"}', "7"])
def test_statistics_that_are_a_bomb_tell_no_number(lake, stats):
    (home(lake) / "data.parquet").write_bytes(b"x")
    last = newest(lake, "bronze/sales")
    file = first_file(lake, "bronze/sales").relative_to(lake / "bronze" / "sales")
    adds(lake, "bronze/sales", str(file), stats=stats)
    version = int(last.stem)
    [step] = increments(str(lake / "bronze" / "sales"), version, version + 1, 10)
    assert step.files == (str(lake / "bronze" / "sales" / file),)


@pytest.mark.parametrize(
    "action", ['{"add":null}', '{"add":{"path":7}}', '{"add":{}}', '{"remove":[1]}', "7", "null"]
)
def test_an_action_of_no_shape_is_damage_to_who_follows(lake, action):
    with newest(lake, "bronze/sales").open("a") as log:
        log.write(f"{action}\n")
    uri, version = str(lake / "bronze" / "sales"), int(newest(lake, "bronze/sales").stem)
    with pytest.raises(TableDamaged):
        [*increments(uri, version - 1, version, 10)]
    assert rows_between(uri, version - 1, version) is None


@pytest.mark.parametrize(
    "said", [{"version": [1]}, {"version": {}}, {"datetime": [1]}, {"datetime": float("inf")},
             {"timestamp": "0001-01-01T00:00:00+14:00"}, {"timestamp": 7}, {}],
)  # fmt: skip
def test_a_restore_to_nobody_knows_when_ends_what_is_told(said):
    commit = {"operation": "RESTORE", "operationParameters": said, "version": 3, "timestamp": 1}
    assert [*notes([commit, {"version": 2, "timestamp": 0}])] == [{}]


def test_metadata_that_does_not_fit_is_damage_to_upkeep(lake):
    last = newest(lake, "silver/sales_by_country")
    note = {"flow": "sales.silver", "source": {"id": 2, "version": 1}}
    info = {"timestamp": 1, "operation": "WRITE", "userMetadata": json.dumps(note)}
    path = last.with_name(f"{int(last.stem) + 1:020}.json")
    path.write_text(json.dumps({"commitInfo": info}) + "\n")
    with pytest.raises(TableDamaged, match="carries metadata that does not fit"):
        lowest_applied(lake, "x")


@pytest.mark.parametrize("text", [DEEP, '{"bronze": "x", "version": 1e400}'])
def test_a_mark_of_plain_files_that_says_nothing_stops_no_upkeep(lake, text):
    taken = lake / "parquet" / "orders" / "_taken.json"
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_text(text)
    assert lowest_applied(lake, "x") is None
    outcome("maintain", lake)


def test_a_mark_of_plain_files_that_is_a_hole_is_told(lake):
    hollow(lake / "parquet" / "orders" / "_taken.json")
    with pytest.raises(Outside, match="more than its writer writes"):
        lowest_applied(lake, "x")


@pytest.mark.parametrize("harm", ["pipe", "link", "hole"])
def test_the_state_of_a_capture_is_a_file_of_its_own(lake, harm):
    path = lake / "capture" / "orders.json"
    path.parent.mkdir()
    if harm == "pipe":
        os.mkfifo(path)
    elif harm == "link":
        path.symlink_to(lake.parent / "home" / "notes.json")
    else:
        hollow(path)
    with limited(), pytest.raises(Outside):
        read_state(path)
