"""What is made is for its user alone; for the group where settings say so."""

import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from tests.support.lake import copied


@pytest.fixture
def _umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize(("access", "others"), [("private", 0o077), ("group", 0o007)])
def test_files_of_a_backup_are_for_whom_settings_say(
    recovered_root, settings, tmp_path, monkeypatch, access, others
):
    monkeypatch.setenv("LAKEHOUSE_LAKE_ACCESS", access)
    root = copied(recovered_root, settings).settings.lake.root
    done = CliRunner().invoke(app, ["backup", str(tmp_path / "b"), "--root", root])
    assert done.exit_code == 0, done.output
    made = [tmp_path / "b", *(tmp_path / "b").rglob("*")]
    assert len(made) > 10
    modes = {stat.S_IMODE(path.stat().st_mode) for path in made}
    assert not [oct(mode) for mode in modes if mode & others]
    if access == "group":
        assert all(mode & 0o060 == 0o060 for mode in modes)


def test_every_command_begins_by_it(settings, tmp_path):
    before = os.umask(0o022)
    try:
        CliRunner().invoke(app, ["tables", "--root", str(Path(tmp_path, "none"))])
        assert os.umask(0o022) == 0o077
    finally:
        os.umask(before)
