"""What compaction replaced, and the log, are kept while they are small beside the table."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.storage import old_files, upkeep
from lakehouse.storage.buckets import Buckets
from lakehouse.storage.old_files import lowest_applied
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import Upkeep
from tests.conftest import settings_at

SCHEMA = pa.schema([("n", pa.int64())])


@pytest.fixture
def make(tmp_path):
    """A table ``bronze.t`` of this test's lake, compacted after 5 commits."""

    def make(name="bronze/t", **maintenance):
        settings = settings_at(tmp_path).changed(
            maintenance={"compact_after_commits": 5, "old_mb": 1, **maintenance},
            table={"checkpoint_interval": 5},
            publish={"fsync": False},
        )
        return Table.open(str(tmp_path / name), SCHEMA, settings)

    return make


@pytest.fixture
def at_once(monkeypatch):
    """What was replaced may go at once; checkpoints stay 50 versions apart."""
    monkeypatch.setattr(old_files, "_SHORTEST", 0.0)
    monkeypatch.setattr(old_files, "_APART", 50)
    monkeypatch.setattr(upkeep, "_SELDOM", 0.0)


def commit(table, upkeep, numbers):
    for number in numbers:
        table.append(pa.table({"n": [number]}, SCHEMA), {"flow": str(number)})
        upkeep.run()


def disk(table):
    """Bytes that the table's folder takes."""
    paths = Path(table.uri).rglob("*")
    return sum(path.stat().st_blocks * 512 for path in paths if path.is_file())


def test_many_small_commits_take_no_more_than_is_allowed(make, at_once):
    table = make()
    upkeep, sizes = Upkeep(table), []
    for start in range(0, 250, 50):
        commit(table, upkeep, range(start, start + 50))
        sizes.append(disk(table))
    assert max(sizes) < 1_400_000
    again = make()
    assert sorted(again.rows()["n"].to_pylist()) == [*range(250)]
    assert again.last_note("flow") == "249"
    entries = sorted(int(p.stem) for p in Path(table.uri, "_delta_log").glob("[0-9]*.json"))
    assert entries == [*range(entries[0], table.version + 1)], "a gap in the log"
    assert entries[0] > 60


def test_versions_of_a_table_in_buckets_take_no_more_than_is_allowed(make, at_once):
    """One small file is replaced at every commit, as in silver of a quiet flow."""
    table = make(compact_after_commits=0)
    upkeep, sizes = Upkeep(table, compacts=False), []
    buckets = Buckets(table, 1_000, lambda rows: rows["n"].to_numpy().astype("uint64"))
    for number in range(250):
        new = pa.table({"n": [number]}, SCHEMA)
        done = buckets.write(new, lambda new, old: pa.concat_tables([old, new]), {"flow": "f"})
        upkeep.replaced(done.gone)
        upkeep.run()
        sizes.append(disk(table))
    assert max(sizes) < 2_000_000
    assert sorted(make().rows()["n"].to_pylist()) == [*range(250)]


def test_a_large_table_that_is_seldom_written_leaves_no_more_than_some_of_its_size(make, at_once):
    """It is rewritten whole at each of a few commits, as large tables are in their turns."""
    table = make(compact_after_commits=0)
    upkeep, sizes = Upkeep(table, compacts=False), []
    buckets = Buckets(table, 1_000_000, lambda rows: rows["n"].to_numpy().astype("uint64"))
    rows = pa.table({"n": np.random.default_rng(7).integers(0, 2**62, 100_000)}, SCHEMA)
    for _ in range(30):
        upkeep.replaced(buckets.write(rows, lambda new, _: new, {"flow": "f"}).gone)
        upkeep.run()
        sizes.append(disk(table))
    assert max(sizes) < 12 * sizes[0]


@pytest.mark.parametrize("kept", [{"old_mb": 0}, {}])
def test_what_was_replaced_a_moment_ago_stays_and_all_of_it_where_it_is_told_so(
    make, kept, monkeypatch
):
    if kept:
        monkeypatch.setattr(old_files, "_SHORTEST", 0.0)
    table = make(**kept)
    commit(table, Upkeep(table), range(150))
    first = [*Path(table.uri).glob("*.parquet")]
    assert len(first) > 150
    assert Path(table.uri, "_delta_log", f"{0:020}.json").exists()


def test_what_a_follower_has_not_applied_stays(make, at_once, tmp_path):
    table = make()
    upkeep, id_ = Upkeep(table), str(table.dt.metadata().id)
    follower = make("silver/of_t")
    assert lowest_applied(tmp_path, id_) is None
    commit(table, upkeep, range(20))
    follower.append(SCHEMA.empty_table(), {"source": {"id": id_, "version": 20}})
    plain = tmp_path / "lake" / "t" / "_taken.json"
    plain.parent.mkdir(parents=True)
    plain.write_text(json.dumps({"bronze": id_, "version": 17}))
    (tmp_path / "notes" / "mine").mkdir(parents=True)
    (tmp_path / "notes" / "mine" / "_delta_log").write_text("no log")
    assert lowest_applied(tmp_path, id_) == 17
    commit(table, upkeep, range(20, 150))
    log = Path(table.uri, "_delta_log")
    for version in range(18, table.version + 1):
        adds = [json.loads(line).get("add") for line in (log / f"{version:020}.json").open()]
        assert all(Path(table.uri, add["path"]).exists() for add in adds if add)
    plain.unlink()
    follower.append(SCHEMA.empty_table(), {"source": {"id": id_, "version": table.version}})
    commit(table, upkeep, range(150, 180))
    assert not (log / f"{18:020}.json").exists()
    assert sorted(make().rows()["n"].to_pylist()) == [*range(180)]


def test_a_compacted_file_is_not_written_again_each_time(make):
    table = make()
    upkeep, written = Upkeep(table), 0
    for number in range(150):
        before = {*table.files()}
        commit(table, upkeep, [number])
        new = {*table.files()} - before
        written += sum(pq.read_metadata(file).num_rows for file in new)
    assert written < 150 * 8
    assert len(table.files()) < 15
