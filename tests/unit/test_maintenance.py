"""Maintenance between batches: rows stay, files go when their time is over, state is never lost."""

import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import TableDamaged
from lakehouse.storage.log_health import check_log
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import Upkeep, _shorten_log, vacuum
from tests.support.lake import ALWAYS, entries
from tests.support.logs import retold

SCHEMA = pa.schema([("n", pa.int64())])
NOTHING = timedelta(0)


@pytest.fixture
def make(tmp_path, settings):
    """Open a table of numbers whose maintenance is as the sections given say."""

    def make(name="table", **sections):
        return Table.open(str(tmp_path / name), SCHEMA, settings.changed(**sections))

    return make


def add(table, *numbers):
    for n in numbers:
        table.append(pa.table({"n": [n]}, SCHEMA), {"flow": str(n)})


def add_at_once(table, numbers):
    table.append(pa.table({"n": numbers}, SCHEMA), {"flow": "0"})


def held(table, version=None):
    """The rows of a version, read from its files alone."""
    files = DeltaTable(table.uri, version=version).file_uris()
    return sorted(n for file in files for n in pq.read_table(file)["n"].to_pylist())


# Compaction


def test_compaction_keeps_rows_and_state_in_fewer_files(make):
    table = make(maintenance={"compact_after_commits": 4})
    upkeep = Upkeep(table)
    add(table, 1, 2, 3)
    upkeep.run()
    assert len(table.files()) == 3
    add(table, 4)
    upkeep.run()
    assert len(table.files()) == 1
    assert held(table) == [1, 2, 3, 4]
    assert table.version == 5
    newest = table.dt.history(1)[0]
    assert newest["operation"] == "OPTIMIZE"
    assert newest["userMetadata"] == '{"flow": "4"}'
    add(table, 5)
    upkeep.run()
    assert table.version == 6, "the next one waits for as many commits"


def test_larger_files_are_rewritten_more_seldom(make):
    table = make(table={"target_file_size_mb": 1}, maintenance={"compact_after_commits": 2})
    upkeep = Upkeep(table)
    add_at_once(table, [*range(10_000)])
    [large] = table.files()
    assert Path(large).stat().st_size > 2**20 / 32
    number = 10_000
    while table.version < 31:
        assert large in table.files()
        add(table, number)
        upkeep.run()
        assert len(table.files()) <= 3
        number += 1
    add(table, number)
    upkeep.run()
    assert len(table.files()) == 1
    assert held(table) == [*range(number + 1)]


def test_commits_of_earlier_processes_count(make):
    for n in range(1, 5):
        table = make(maintenance={"compact_after_commits": 4})
        upkeep = Upkeep(table)
        add(table, n)
        upkeep.run()
    assert len(table.files()) == 1
    assert held(table) == [1, 2, 3, 4]


def test_a_table_that_cannot_be_compacted_is_a_fault_with_a_remedy(make):
    table = make(maintenance={"compact_after_commits": 2})
    upkeep = Upkeep(table)
    add(table, 1, 2)
    Path(table.files()[0]).unlink()
    with pytest.raises(TableDamaged, match="the data file cannot be read") as caught:
        upkeep.run()
    assert "lakehouse repair" in caught.value.remedy


# Vacuum


def three_hours_earlier(action):
    if "remove" in action:
        action["remove"]["deletionTimestamp"] -= 3 * 3_600_000


def test_vacuum_removes_only_files_past_retention(make):
    sections = {
        "table": {"deleted_file_retention": timedelta(hours=2)},
        "maintenance": {"vacuum_interval": ALWAYS, "compact_after_commits": 0},
    }
    table = make(**sections)
    add(table, 1, 2)
    first = table.files()
    version = table.replace([pa.table({"n": [3]}, SCHEMA)], {"flow": "3"})
    second = table.files()
    table.replace([pa.table({"n": [4]}, SCHEMA)], {"flow": "4"})
    retold(Path(table.uri, "_delta_log", f"{version:020}.json"), three_hours_earlier)
    table = make(**sections)
    Upkeep(table).run()
    assert not any(Path(file).exists() for file in first)
    assert all(Path(file).exists() for file in [*second, *table.files()])
    assert held(table) == [4]
    assert held(table, version=3) == [3], "time travel inside the retention"
    assert table.last_note("flow") == "4"


def test_a_retention_below_an_hour_is_kept(make):
    table = make(
        table={"deleted_file_retention": timedelta(minutes=30)},
        maintenance={"vacuum_interval": ALWAYS, "compact_after_commits": 2},
    )
    upkeep = Upkeep(table)
    add(table, 1, 2)
    upkeep.run()
    assert len(table.files()) == 1
    assert held(table, version=1) == [1]


def test_vacuum_is_done_at_start_and_then_waits(make):
    sections = {
        "table": {"deleted_file_retention": NOTHING},
        "maintenance": {"vacuum_interval": timedelta(hours=1)},
    }
    table = make(**sections)
    upkeep = Upkeep(table)
    upkeep.run()
    for again in (1, 2):
        add(table, again)
        old = table.files()
        table.replace([pa.table({"n": [9]}, SCHEMA)], {"flow": "9"})
        time.sleep(0.01)
        upkeep.run()
        assert all(Path(file).exists() for file in old)
    Upkeep(make(**sections)).run()
    assert not any(Path(file).exists() for file in old)


def data_files(table):
    return {path.name for path in Path(table.uri).glob("*.parquet")}


def test_removed_files_go_where_a_checkpoint_no_longer_tells_of_them(make):
    short = {"deleted_file_retention": timedelta(seconds=1), "checkpoint_interval": 3}
    table = make(table=short)
    for n in range(12):
        table.replace([pa.table({"n": [n]}, SCHEMA)], {"flow": str(n)})
    removed = data_files(table) - {Path(file).name for file in table.files()}
    assert len(removed) == 11
    time.sleep(1.1)
    for n in range(12, 16):
        table.replace([pa.table({"n": [n]}, SCHEMA)], {"flow": str(n)})
    vacuum(make(table=short))
    assert not data_files(table) & removed


def test_vacuum_goes_by_the_time_of_the_removal_and_takes_what_a_crash_left(make):
    table = make(table={"deleted_file_retention": timedelta(hours=1)})
    add(table, 1)
    [first] = map(Path, table.files())
    table.replace([pa.table({"n": [2]}, SCHEMA)], {"flow": "2"})
    young, stale = first.with_name("part-young.parquet"), first.with_name("part-stale.parquet")
    for path in (young, stale):
        shutil.copy(first, path)
    cut = first.with_name(f"{first.name}#1")
    cut.touch()
    days_ago = time.time() - 3 * 86_400
    for path in (first, stale):
        os.utime(path, (days_ago, days_ago))
    vacuum(table)
    assert (first.exists(), young.exists()) == (True, True)
    assert (stale.exists(), cut.exists()) == (False, False)
    assert held(table, 1) == [1]


# The log


def test_a_checkpoint_comes_with_each_interval(make):
    table = make(table={"checkpoint_interval": 3}, maintenance={"compact_after_commits": 5})
    upkeep = Upkeep(table)
    for n in range(7):
        add(table, n)
        upkeep.run()
    first, second = checkpoints(table)
    assert (3 <= first <= 5, second) == (True, first + 3)


def checkpoints(table):
    """The versions that the log has checkpoints of."""
    found = Path(table.uri, "_delta_log").glob("*.checkpoint.parquet")
    return tuple(sorted(int(path.name.split(".")[0]) for path in found))


def test_tables_that_a_batch_commits_to_have_their_checkpoints_apart(make):
    tables = [make(f"silver/t{n}", table={"checkpoint_interval": 10}) for n in range(5)]
    for n in range(19):
        for table in tables:
            add(table, n)
    assert all(len(checkpoints(table)) == 1 for table in tables)
    assert len({checkpoints(table) for table in tables}) >= 3


def test_the_log_keeps_no_more_commits_than_it_may(make):
    often = {"compact_after_commits": 0, "vacuum_interval": ALWAYS, "log_entries": 5}
    table = make(table={"checkpoint_interval": 3}, maintenance=often)
    upkeep = Upkeep(table)
    for n in range(20):
        add(table, n)
        upkeep.run()
    first = int(entries(table.uri)[0].removesuffix(".json"))
    assert table.version - 5 - 3 <= first <= table.version - 5
    check_log(table.uri)
    assert DeltaTable(table.uri, version=first).to_pyarrow_table().num_rows >= 10
    assert sorted(DeltaTable(table.uri).to_pyarrow_table()["n"].to_pylist()) == list(range(20))
    with pytest.raises(DeltaError):
        DeltaTable(table.uri, version=first - 1)
    assert table.last_note("flow") == "19"


def test_the_log_is_not_cut_at_a_checkpoint_that_cannot_be_read(make):
    table = make(table={"checkpoint_interval": 3}, maintenance={"log_entries": 1})
    for n in range(5):
        add(table, n)
    assert checkpoints(table)
    for checkpoint in Path(table.uri, "_delta_log").glob("*.checkpoint.parquet"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:50])
    _shorten_log(table)
    assert entries(table.uri)[0] == f"{0:020}.json"
