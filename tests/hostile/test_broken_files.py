"""What mutants found: files that engines cannot read, or read as text that is none."""

import json

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import TableDamaged
from tests.hostile.attacks import adds, first_file, newest
from tests.hostile.lakes import orders
from tests.hostile.verbs import READ, outcome


def flipped(path, old, new):
    """The file with other bytes, as many, in the place of those."""
    data = path.read_bytes()
    assert old in data
    path.unlink()
    path.write_bytes(data.replace(old, new))


@pytest.fixture
def footless(lake):
    """Its erased addresses are in a file whose footer is none."""
    path = first_file(lake, "erased/sales")
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[-8:-4], "little")
    data[-8 - size : -8] = b"\xff" * size
    path.write_bytes(data)
    return lake


def test_a_footer_that_is_none_is_damage(footless):
    for verb in READ:
        outcome(verb, footless)


def test_quarantine_says_which_file_cannot_be_read(footless):
    done = CliRunner().invoke(app, ["quarantine", "list", "--root", str(footless)])
    assert isinstance(done.exception, TableDamaged)
    assert "quarantine.sales: cannot be read" in str(done.exception)


def test_a_checkpoint_whose_footer_is_no_text_is_damage(lake):
    for log in lake.glob("*/*/_delta_log"):
        DeltaTable(log.parent).create_checkpoint()
        [path] = log.glob("*.checkpoint.parquet")
        told = pq.read_metadata(path).created_by.encode()
        flipped(path, told, b"\x80" * len(told))
    for verb in READ:
        outcome(verb, lake)


@pytest.mark.parametrize("verb", ["explore", "audit", "doctor --deep", "quarantine list"])
def test_a_column_whose_name_is_no_text_is_damage(verb, lake):
    for table in ("bronze/sales", "quarantine/sales"):
        for path in (lake / table).rglob("*.parquet"):
            if "_delta_log" not in path.parts:
                flipped(path, b"kafka_time", b"kafka\xfftime")
    assert "cannot be read" in outcome(verb, lake)


ODD = ['"add":[]', '"add":{"stats":7}', '"add":{"stats":"[]"}', "deep"]


@pytest.mark.parametrize("verb", ["tables", "history", "audit"])
@pytest.mark.parametrize("action", ODD)
def test_an_action_of_another_shape_is_damage(verb, action, lake):
    text = "[" * 100_000 if action == "deep" else action
    path = newest(lake, "bronze/sales")
    info = {"commitInfo": {"operation": "WRITE", "operationMetrics": {"numOutputRows": "9" * 5000}}}
    path.write_text(f"{json.dumps(info)}\n{{{text}}}\n")
    outcome(verb, lake)
    path.write_text(f"{json.dumps(info).replace('9' * 5000, '7')}\n{{{text}}}\n")
    outcome(verb, lake)


def test_plain_files_that_are_none_are_damage(tmp_path):
    orders(tmp_path / "lake")
    path = next((tmp_path / "lake").glob("**/date=*/*.parquet"))
    path.write_bytes(b"PAR1" + b"\xff" * (path.stat().st_size - 8) + b"PAR1")
    for verb in ("tables", "sql"):
        outcome(verb, tmp_path / "lake")
    said = CliRunner().invoke(app, ["tables", "--root", str(tmp_path / "lake")])
    assert "lake.orders: cannot be read" in f"{said.output}{said.exception}"


@pytest.mark.parametrize("verb", ["tables", "maintain", "follow"])
@pytest.mark.parametrize(
    "more",
    [
        {"stats": json.dumps({"numRecords": 2**70})},
        {"partitionValues": {"event_date": "2026-11-20", "x": "1"}},
    ],
)
def test_an_action_that_no_engine_can_take_in_is_damage(verb, more, lake):
    (lake.parent / "home" / "data.parquet").write_bytes(b"x")
    adds(lake, "bronze/sales", "x", **more)
    assert "cannot be opened" in outcome(verb, lake) or verb == "tables"
