"""What a commit names is on disk, and every page that we write says whether it is whole."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.core.errors import TableDamaged
from lakehouse.core.paths import Lake
from lakehouse.operations.deep import read_whole
from lakehouse.storage.checksums import corrupt_files, has_checksums
from lakehouse.storage.duck import connect, query, scan
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.log import entry
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import compact
from tests.conftest import settings_at
from tests.support.words import SCHEMA, rows


@pytest.fixture
def synced(monkeypatch):
    """The paths that were synced so far, and what they were then named by."""
    found: set[Path] = set()
    real = os.fsync

    def fsync(descriptor):
        real(descriptor)
        found.add(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def needed(table, version):
    """What must be on disk for a version to outlive a power cut."""
    paths = {Path(table.uri), Path(table.uri, "_delta_log")}
    for line in entry(table.uri, version).read_text("utf-8").splitlines():
        if add := json.loads(line).get("add"):
            file = Path(table.uri, add["path"])
            paths |= {file, file.parent}
    return paths


def test_a_commit_syncs_its_files_its_new_folders_and_the_folders_that_list_them(table, synced):
    table.append(rows(0, 1, 2), {})
    assert needed(table, 1) <= synced


def test_an_entry_is_synced_before_it_has_its_name(table, synced, monkeypatch):
    link, seen = os.link, []

    def watched(source, target):
        seen.append((Path(source) in synced, needed_files(table) <= synced))
        link(source, target)

    monkeypatch.setattr(os, "link", watched)
    table.append(rows(0, 1, 2), {})
    assert seen == [(True, True)]


def needed_files(table):
    return set(Path(table.uri).glob("day=*/*.parquet")) | set(Path(table.uri).glob("day=*"))


def test_a_new_table_is_synced_up_to_the_root(tmp_path, synced):
    settings = settings_at(tmp_path / "lake")
    uri = tmp_path / "lake" / "bronze" / "t"
    Table.open(str(uri), SCHEMA, settings, partition_by=["day"])
    assert {uri / "_delta_log", uri, uri.parent, tmp_path / "lake"} <= synced


def test_a_checkpoint_is_synced(table, synced):
    for n in range(2 * table.settings.table.checkpoint_interval):
        table.append(rows(n), {})
    log = Path(table.uri, "_delta_log")
    assert {*log.glob("*.checkpoint.parquet"), log / "_last_checkpoint"} <= synced


@pytest.mark.parametrize("many", [1, 40], ids=["one file", "side by side"])
def test_a_flipped_bit_in_any_page_is_found_and_its_file_named(table, many):
    table.append(rows(*range(3 * many), days=many), {})
    files = files_of(table.dt)
    assert list(corrupt_files(files)) == []
    for number, column in enumerate(SCHEMA.names[:-1]):
        file = files[number % len(files)]
        whole = Path(file).read_bytes()
        chunk = pq.read_metadata(file).row_group(0).column(number)
        last = chunk.data_page_offset + chunk.total_compressed_size - 1
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        flipped = bytearray(whole)
        flipped[start + chunk.total_compressed_size - 1] ^= 1
        assert last < len(whole)
        Path(file).write_bytes(flipped)
        [(named, fault)] = corrupt_files(files)
        assert (named, "cannot be read" in fault) == (file, True), column
        Path(file).write_bytes(whole)


def test_an_append_keeps_rows_statistics_and_marks(table):
    version = table.append(rows(*range(30)), {"hello": 1}, {"app": 7})
    again = DeltaTable(table.uri)
    assert again.to_pyarrow_table().sort_by("n").equals(rows(*range(30)))
    assert (again.version(), again.transaction_version("app")) == (version, 7)
    assert table.last_note("hello") == 1
    adds = pa.table(again.get_add_actions(flatten=True)).sort_by("min.n").to_pylist()
    assert [(a["num_records"], a["min.n"], a["max.n"]) for a in adds] == [
        (10, 0, 27), (10, 1, 28), (10, 2, 29),
    ]  # fmt: skip
    assert [a["null_count.word"] for a in adds] == [2, 2, 2]
    assert adds[0].get("max.word") is None  # the third is longer than a bound may be
    assert str(adds[0]["max.price"]) in {"6.7500", "6.75"}
    assert again.to_pyarrow_table(filters=[("n", "=", 3)]).num_rows == 1
    assert again.to_pyarrow_dataset().count_rows() == 30


def test_a_version_that_another_writer_took_is_refused_and_nothing_is_changed(table):
    other = Table.open(table.uri, SCHEMA, table.settings, partition_by=["day"])
    other.append(rows(1), {})
    with pytest.raises(TableDamaged, match="another program has committed"):
        table.append(rows(2), {})
    assert DeltaTable(table.uri).to_pyarrow_table()["n"].to_pylist() == [1]
    assert not list(Path(table.uri, "_delta_log").glob(".*.part"))


def test_a_compaction_keeps_rows_checksums_statistics_and_what_was_synced(table, synced):
    for n in range(12):
        table.append(rows(n, n + 12), {"batch": n})
    version, before = table.version, DeltaTable(table.uri).to_pyarrow_table().sort_by("n")
    synced.clear()
    compact(table)
    assert table.version == version + 1
    assert needed(table, version + 1) <= synced
    after = DeltaTable(table.uri)
    assert after.to_pyarrow_table().sort_by("n").equals(before)
    assert table.last_note("batch") == 11
    adds = pa.table(after.get_add_actions(flatten=True)).sort_by("min.n").to_pylist()
    assert [(a["num_records"], a["min.n"], a["max.n"]) for a in adds] == [
        (8, 0, 21), (8, 1, 22), (8, 2, 23),
    ]  # fmt: skip
    assert sum(a["null_count.word"] for a in adds) == 5
    told = [json.loads(line) for line in entry(table.uri, version + 1).read_text().splitlines()]
    changes = [a[kind]["dataChange"] for a in told for kind in ("add", "remove") if kind in a]
    assert changes == [False] * 15
    compact(table)
    assert table.version == version + 1  # nothing is left to do
    for file in files_of(table.dt):
        data = bytearray(Path(file).read_bytes())
        chunk = pq.read_metadata(file).row_group(0).column(2)
        data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
        Path(file).write_bytes(data)
        assert [name for name, _ in corrupt_files([file])] == [file]


def test_a_compaction_does_not_write_a_changed_value_again(table):
    for n in (1, 4):
        table.append(rows(n), {})
    file = files_of(table.dt)[0]
    data = bytearray(Path(file).read_bytes())
    chunk = pq.read_metadata(file).row_group(0).column(2)
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    Path(file).write_bytes(data)
    with pytest.raises(TableDamaged, match="cannot be read") as told:
        compact(table)
    assert Path(file).name in str(told.value)
    assert "lakehouse repair" in told.value.remedy


def test_files_that_have_no_checksums_are_counted(table):
    table.append(rows(0, 1, 2), {})
    write_deltalake(table.uri, rows(*range(3, 6)), mode="append")
    files = sorted(files_of(DeltaTable(table.uri)), key=lambda f: Path(f).stat().st_mtime_ns)
    assert [has_checksums(file) for file in files] == [True] * 3 + [False] * 3
    [(name, read, damage)] = read_whole(Lake(table.settings.lake.root), "1GB")
    assert (name, damage) == ("bronze.t", None)
    assert read.startswith("every page of 3 files is what was written; 3 files of an earlier")


@pytest.mark.parametrize("raw", [[None, b"x"], [b"x", None, None], [None, b"x", b"y"]])
def test_duckdb_finds_nulls_beside_a_text_that_is_always_the_same(table, raw):
    """2.0.0 read "x" as null there, where the file has it in no dictionary."""
    size = len(raw)
    some = rows(*range(size), days=1).set_column(4, "raw", pa.array(raw))
    table.append(some.set_column(1, "word", pa.array(raw).cast(pa.string())), {})
    with connect(table.settings) as connection:
        for name in ("word", "raw"):
            sql = f"SELECT n FROM {scan(table.dt, table.files())} WHERE {name} IS NULL"
            found = query(connection, sql)["n"].to_pylist()
            assert found == [n for n in range(size) if raw[n] is None]
