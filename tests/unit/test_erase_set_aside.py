"""What lies outside of a lake's tables may be the client's: erase says so, and changes nothing."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.audit.proof import Verdict
from lakehouse.cli.app import app
from lakehouse.core.errors import UsageError
from lakehouse.operations.backup import backup, restore
from tests.conftest import NOW
from tests.unit.test_audit import proof
from tests.unit.test_erase import (
    GONE,
    Kafka,
    assert_gone,
    erased,
    landed,  # noqa: F401  # the fixture
    traces,
)
from tests.unit.test_publish import copied


@pytest.fixture
def lake(landed, settings):  # noqa: F811  # the fixture's name
    return copied(landed, settings)


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


@pytest.mark.parametrize("folder", ["_rebuild/sales", "_restore.partial/bronze"])
def test_what_a_crash_left_is_named_too(lake, folder):
    left = Path(lake.settings.lake.root, folder)
    left.mkdir(parents=True)
    (left / "x.parquet").write_bytes(b"abc")
    with pytest.raises(UsageError, match="1 files, 3 bytes"):
        erased(lake)


def test_empty_folders_hold_nothing(lake):
    Path(lake.settings.lake.root, "_aside", "x").mkdir(parents=True)
    erased(lake)
    assert_gone(lake)
