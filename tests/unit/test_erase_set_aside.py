"""What lies outside of a lake's tables may be the client's: erase says so, and changes nothing."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.audit.proof import Verdict
from lakehouse.cli.app import app
from lakehouse.core.errors import UsageError
from lakehouse.operations.backup import backup
from lakehouse.operations.restore import restore
from tests.conftest import NOW
from tests.support.audited import Kafka, proof
from tests.support.erased import GONE, assert_gone, erased, traces
from tests.support.lake import copied


@pytest.fixture
def lake(erasable_root, settings):
    return copied(erasable_root, settings)


def test_erase_is_refused_while_set_aside_files_may_hold_the_client(lake, tmp_path):
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    restore(tmp_path / "b", lake.settings, lambda _: None, force=True)
    root = Path(lake.settings.lake.root)
    before = traces(root)
    assert any(name.startswith("_aside/lake-1/bronze/sales/") for name in before)
    with pytest.raises(UsageError, match=r"_aside/lake-1: \d+ files"):
        erased(lake)
    words = ["erase", GONE, "--yes", "--root", str(root)]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UsageError)
    assert traces(root) == before
    assert proof(lake, Kafka(end=10)).verdict is Verdict.PROVEN
    shutil.rmtree(root / "_aside")
    lake.restart()
    erased(lake)
    assert_gone(lake)


@pytest.mark.parametrize("folder", ["_rebuild/another", "_restore.partial/bronze"])
def test_what_a_crash_left_is_named_too(lake, folder):
    left = Path(lake.settings.lake.root, folder)
    left.mkdir(parents=True)
    (left / "x.parquet").write_bytes(b"abc")
    with pytest.raises(UsageError, match="1 files, 3 bytes"):
        erased(lake)


def test_what_is_half_made_of_silver_goes_with_the_client(lake):
    """A rebuild that was cut, as by an erasure that is killed, leaves it."""
    left = Path(lake.settings.lake.root, "_rebuild", "sales", "silver", "sales_by_client")
    left.mkdir(parents=True)
    (left / "x.parquet").write_bytes(GONE.encode())
    erased(lake)
    assert not left.exists()
    assert_gone(lake)


def test_empty_folders_hold_nothing(lake):
    Path(lake.settings.lake.root, "_aside", "x").mkdir(parents=True)
    erased(lake)
    assert_gone(lake)
