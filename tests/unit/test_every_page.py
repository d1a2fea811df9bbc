"""Every file that we write has a checksum on every page, whatever verb wrote it."""

import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.core.errors import TableDamaged, UsageError
from lakehouse.core.paths import Lake
from lakehouse.storage.checksums import corrupt_files
from lakehouse.storage.columns import widen_numbers
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.fingerprint import Total, by_batch, total_of
from lakehouse.storage.log import commits, entry
from lakehouse.storage.rows import data_files
from lakehouse.storage.swap import swap
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import drop_before, vacuum
from tests.conftest import settings_at
from tests.support.copies_of_one import copies_of_one
from tests.support.words import SCHEMA, rows

ALL = range(30)


def marks(*numbers):
    found = pa.table({"n": pa.array(numbers, pa.int64()), "word": ["marked"] * len(numbers)})
    return found.append_column("price", pa.nulls(len(numbers), SCHEMA.field("price").type))


@pytest.fixture
def filled(tmp_path):
    """Thirty rows in three days, by two appends; fingerprints are kept."""
    return filled_at(tmp_path / "lake")


def filled_at(root):
    settings = settings_at(root)
    uri = str(root / "bronze" / "t")
    table = Table.open(uri, SCHEMA, settings, partition_by=["day"], fingerprinted=True)
    table.append(rows(*ALL[:20]), {"flow": "x", "ends": ends(1)})
    table.append(rows(*ALL[20:]), {"flow": "x", "ends": ends(2)})
    return table


def ends(batch):
    return {"topic": "t", "topic_id": "i", "next": {"0": batch}, "batch": batch}


def again(table):
    """The table as another process finds it."""
    return Table.open(table.uri, table.schema, table.settings)


def numbers(table):
    return sorted(again(table).rows()["n"].to_pylist())


def swapped(table):
    """Another table's rows take its place."""
    lake = table.settings.lake
    new = Table.open(
        str(Path(lake.root, "_rebuild", "bronze", "t")), SCHEMA, table.settings,
        partition_by=["day"],
    )  # fmt: skip
    new.append(rows(*ALL[:9]), {"flow": "y", "source": {"id": "b", "version": 3}})
    swap(Lake(lake.root), table.settings, "bronze.t", new, readable=True)


def widened(table):
    fields = [f.with_type(pa.decimal128(38, 4)) if f.name == "price" else f for f in SCHEMA]
    widen_numbers(Table.open(table.uri, pa.schema(fields), table.settings))


WRITES = {
    "replace": lambda table: table.replace([rows(*ALL[:4]), rows(*ALL[4:9])], {"flow": "z"}),
    "mark": lambda table: table.mark(marks(1, 2, 22), ["n"], "true", {"flow": "z"}),
    "delete": lambda table: table.delete("n IN (1, 2, 3, 21)", {}),
    "retention": lambda table: drop_before(
        table, "at", datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC), "word IS NOT NULL"
    ),
    "widen": widened,
    "swap": swapped,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_flipped_bit_in_any_page_of_any_file_is_found(filled, write):
    write(filled)
    files = files_of(DeltaTable(filled.uri))
    assert list(corrupt_files(files)) == []
    pages = 0
    for file in files:
        whole = Path(file).read_bytes()
        for group, column, last in ends_of_chunks(file):
            flipped = bytearray(whole)
            flipped[last] ^= 1
            Path(file).write_bytes(flipped)
            found = list(corrupt_files([file]))
            assert [named for named, _ in found] == [file], (file, group, column)
            pages += 1
        Path(file).write_bytes(whole)
    assert pages >= 2 * (len(SCHEMA) - 1)


def ends_of_chunks(file):
    """The last byte of each column's last page, by row group and column."""
    about = pq.read_metadata(file)
    for group in range(about.num_row_groups):
        for number in range(about.num_columns):
            chunk = about.row_group(group).column(number)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            yield group, number, start + chunk.total_compressed_size - 1


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_fingerprints_and_state_are_exact_afterwards(filled, write):
    write(filled)
    found = again(filled)
    held = (batch for file in data_files(found.dt, found.uri) for batch in file.rows())
    assert Total.read(found.last_note("fingerprint")).fingerprint == total_of(by_batch(held))
    if write not in {swapped, WRITES["replace"], WRITES["mark"]}:  # their note is the caller's
        assert (found.last_note("ends") or {})["batch"] == 2
    adds = DeltaTable(filled.uri).get_add_actions(flatten=True)
    assert sum(adds["num_records"].to_pylist()) == found.rows().num_rows


def test_only_files_that_hold_such_rows_are_written_again(filled):
    before = {*files_of(filled.dt)}
    filled.delete("n = 1 AND day = '1970-01-02'", {"erase": {"records": 1}})
    after = {*files_of(filled.dt)}
    assert (len(before - after), len(after - before)) == (1, 1)
    [gone], [new] = before - after, after - before
    assert Path(gone).parent == Path(new).parent
    told = next(commits(filled.uri, filled.version))
    assert told["operation"] == "DELETE"
    assert told["operationMetrics"] == {
        "num_added_files": 1, "num_removed_files": 1, "num_deleted_rows": 1,
    }  # fmt: skip
    filled.mark(marks(2), ["n"], "t.day = '1970-01-03'", {"flow": "z"})
    told = next(commits(filled.uri, filled.version))
    assert (told["operation"], told["operationMetrics"]["num_target_rows_updated"]) == ("MERGE", 1)
    assert DeltaTable(filled.uri).history(1)[0]["operation"] == "MERGE"


def test_a_file_of_which_no_row_is_left_goes_and_nothing_takes_its_place(filled):
    filled.delete("day = '1970-01-01'", {})
    assert numbers(filled) == [n for n in ALL if n % 3]
    assert not [p for p in filled.dt.file_uris() if "day=1970-01-01" in p]
    filled.delete("true", {})
    assert (numbers(filled), filled.dt.file_uris()) == ([], [])


def test_where_nothing_matches_nothing_is_committed(filled):
    before = filled.version
    filled.delete("n = 99", {})
    filled.mark(marks(99), ["n"], "true", {})
    assert (filled.version, again(filled).version) == (before, before)
    filled.delete("n = 3", {})
    filled.delete("n = 3", {})
    assert filled.version == before + 1


LOADED = """
import os, signal, sys
from lakehouse.storage import log
from tests.conftest import settings_at
from tests.unit.test_every_page import WRITES, SCHEMA, Table
"""
DIES = """
link = os.link
os.link = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
settings = settings_at(sys.argv[1])
WRITES[sys.argv[2]](Table.open(sys.argv[3], SCHEMA, settings, fingerprinted=True))
"""
DYING = ("replace", "mark", "delete", "widen")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Name of a write → a table that it was killed on before its commit, and its live files."""
    tables = {name: filled_at(tmp_path_factory.mktemp(name) / "lake") for name in DYING}
    live = {name: {*files_of(table.dt)} for name, table in tables.items()}
    cases = [[table.settings.lake.root, name, table.uri] for name, table in tables.items()]
    done = copies_of_one(LOADED, DIES, cases)
    assert [one.returncode for one in done] == [-signal.SIGKILL] * len(cases), done
    return {name: (table, live[name]) for name, table in tables.items()}


@pytest.mark.parametrize("name", DYING)
def test_killed_before_its_commit_it_leaves_files_of_no_version(killed, name):
    filled, live = killed[name]
    found = again(filled)
    assert (found.version, numbers(found)) == (2, [*ALL])
    on_disk = {str(path) for path in Path(filled.uri).rglob("day=*/*.parquet")}
    assert live < on_disk
    WRITES[name](found)
    assert again(filled).version == 3
    vacuum(again(filled))
    long_ago = 1.0
    for path in on_disk - live:
        os.utime(path, (long_ago, long_ago))
    vacuum(again(filled))
    on_disk -= {str(path) for path in Path(filled.uri).rglob("day=*/*.parquet")}
    assert not on_disk & {*files_of(DeltaTable(filled.uri))}
    assert on_disk


@pytest.mark.parametrize("name", ["replace", "mark", "delete"])
def test_another_writer_in_between_is_an_error_and_nothing_is_lost(filled, name, monkeypatch):
    link = os.link

    def late(*names):
        monkeypatch.setattr(os, "link", link)
        write_deltalake(filled.uri, rows(77), mode="append")
        link(*names)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(TableDamaged, match="another program has committed"):
        WRITES[name](filled)
    assert numbers(filled) == [*ALL, 77]


def test_a_flipped_bit_is_not_written_again_under_a_checksum_that_fits(filled):
    for write in (WRITES["mark"], WRITES["delete"], widened):
        for file in files_of(filled.dt):
            whole = Path(file).read_bytes()
            _, _, last = list(ends_of_chunks(file))[2]  # the price: no condition reads it
            Path(file).write_bytes(whole[:last] + bytes([whole[last] ^ 1]) + whole[last + 1 :])
        with pytest.raises(TableDamaged, match="cannot be read") as told:
            write(filled)
        assert "lakehouse repair bronze.t" in told.value.remedy
        for file in files_of(filled.dt):
            whole = Path(file).read_bytes()
            _, _, last = list(ends_of_chunks(file))[2]
            Path(file).write_bytes(whole[:last] + bytes([whole[last] ^ 1]) + whole[last + 1 :])
    assert filled.version == 2


def test_a_table_whose_rows_may_not_leave_keeps_them(filled):
    filled.dt.alter.set_table_properties({"delta.appendOnly": "true"})
    table = again(filled)
    for write in ("replace", "mark", "delete"):
        with pytest.raises(UsageError, match="appendOnly"):
            WRITES[write](table)
    assert numbers(table) == [*ALL]


def test_an_entry_names_no_value_of_a_deleted_row(filled):
    filled.delete("word = 'w7'", {})
    assert "w7" not in json.loads(entry(filled.uri, 3).read_text().splitlines()[0])["commitInfo"]
    assert "w7'" not in entry(filled.uri, 3).read_text()
