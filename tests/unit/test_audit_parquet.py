"""The audit compares plain Parquet files with bronze, row by row, at their applied version."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.audit import run
from lakehouse.audit.proof import Verdict
from lakehouse.products.registry import flows
from tests.support import orders
from tests.support.orders import PARQUET, Lake, change, proven, row, two_versions


@pytest.fixture
def lake(settings):
    return two_versions(settings)


def parquet(proof):
    [found] = [table for table in proof.tables if table.table == "lake.orders"]
    return found


def files(lake):
    return sorted(lake.parquet.folder.glob("date=*/*.parquet"))


def changed(file, column, value):
    """The file's rows with another value in the first of them."""
    rows = pq.ParquetFile(file).read()
    values = [value, *rows[column].to_pylist()[1:]]
    where = rows.schema.get_field_index(column)
    pq.write_table(
        rows.set_column(
            where, rows.schema.field(column), pa.array(values, rows.schema.field(column).type)
        ),
        file,
    )


def test_what_the_flow_wrote_is_proven(lake):
    proof = proven(lake)
    assert proof.verdict is Verdict.PROVEN, proof.as_dict()
    assert (parquet(proof).rows, parquet(proof).source) == (3, 2)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount", Decimal("1.0000")),
        ("item", None),
        ("created_at", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_value_that_was_changed_is_named(lake, column, value):
    changed(files(lake)[0], column, value)
    proof = proven(lake)
    assert proof.verdict is Verdict.NOT_PROVEN
    assert proof.faults == ("lake.orders: 1 rows are not what bronze gives",)
    assert [(d["column"], d["held"]) for d in parquet(proof).first] == [(column, value)]


def test_a_file_that_is_gone_or_moved_to_another_day_or_copied_is_found(lake):
    first, second = files(lake)
    kept = first.read_bytes()
    first.unlink()
    assert parquet(proven(lake)).differing == 2
    first.write_bytes(kept)
    other = lake.parquet.folder / "date=2026-11-21"
    other.mkdir()
    second.rename(other / second.name)
    assert {d["column"] for d in parquet(proven(lake)).first} == {"date"}
    (other / second.name).rename(second)
    (first.parent / "mine.parquet").write_bytes(kept)
    assert parquet(proven(lake)).differing == 2


def test_files_of_a_version_that_is_not_recorded_yet_are_not_read(lake):
    for number in (5, 6):
        lake.land([change("u", number, row(amount="3"))])
    lake.fold()
    first = files(lake)[0]
    shutil.copy(first, first.with_name("v3.parquet"))
    shutil.copy(first, first.with_name("v4-2.parquet"))
    assert proven(lake).faults == ()


def test_files_that_readers_of_the_folder_find_and_no_flow_wrote_are_a_fault(lake):
    first = files(lake)[0]
    for name in ("v3.parquet", "../mine.parquet", "deep/mine.parquet", "v1.parquet.bak"):
        stray = first.parent / name
        stray.parent.mkdir(exist_ok=True)
        shutil.copy(first, stray)
        proof = proven(lake)
        assert proof.verdict is Verdict.NOT_PROVEN
        assert "1 files that no flow wrote are read with it" in proof.faults[0], name
        stray.unlink()
    for name in ("._v1.parquet", ".v3.parquet.1.part", "_mine"):
        (first.parent / name).write_bytes(b"nobody reads this")
    assert proven(lake).verdict is Verdict.PROVEN


def test_files_that_lag_are_told_apart_from_files_that_are_not_there(lake):
    lake.land([change("u", 5, row(amount="3"))])
    lake.fold()
    proof = proven(lake)
    assert proof.reach.lacking["lake.orders"] == 1
    assert proof.reach.is_caught_up is False
    shutil.rmtree(lake.parquet.folder)
    proof = proven(lake)
    assert "lake.orders: does not exist (yet)" in proof.doubts
    assert proof.verdict is Verdict.CANNOT_TELL


def test_a_file_that_cannot_be_read_is_named(lake):
    file = Path(files(lake)[0])
    file.write_bytes(file.read_bytes()[:60])
    proof = proven(lake)
    assert proof.verdict is Verdict.CANNOT_TELL
    assert any(file.name in doubt for doubt in proof.doubts)


def test_no_file_at_all_is_compared_too(settings):
    lake = Lake(settings)
    lake.land([change("d", 4, before=row())])
    lake.catch_up()
    assert not files(lake)
    assert (parquet(proven(lake)).rows, parquet(proven(lake)).differing) == (0, 0)
    lake.land([change("c", 5, row())])
    lake.catch_up()
    for file in files(lake):
        file.unlink()
    assert parquet(proven(lake)).differing == 1


def test_a_row_without_a_date_is_kept_and_compared(settings, monkeypatch):
    """A date that an event may leave out must not stop the flow."""
    nullable = replace(PARQUET, date="CAST(nullif(created_at, created_at) AS DATE)")
    monkeypatch.setattr(orders, "PARQUET", nullable)
    monkeypatch.setattr(run, "flows", lambda: [nullable if f == PARQUET else f for f in flows()])
    lake = two_versions(settings)
    assert {file.parent.name for file in files(lake)} == {"date=__HIVE_DEFAULT_PARTITION__"}
    proof = proven(lake)
    assert proof.verdict is Verdict.PROVEN, proof.as_dict()
    assert parquet(proof).rows == 3
