"""A small lake, landed once a process; a test takes a copy, with canaries beside it."""

import shutil

import pytest

from tests.conftest import settings_at
from tests.hostile.lakes import sales


@pytest.fixture(scope="session")
def landed(tmp_path_factory):
    """The root of a lake of sales whose every table has rows."""
    root = tmp_path_factory.mktemp("hostile") / "lake"
    sales(root)
    return root


@pytest.fixture
def asked(kafka, monkeypatch):
    """A broker that has no record of the lake's: a verb that asks one starts none of its own."""
    monkeypatch.setenv("LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS", kafka)


@pytest.fixture
def lake(landed, tmp_path, monkeypatch):
    """A copy's root. Beside it lie the user's own files, which no verb may read or change."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "diary.txt").write_text("c4n4ry")
    (home / "notes.json").write_text('{"c4n4ry": 1}\n')
    monkeypatch.chdir(home)
    root = tmp_path / "lake"
    shutil.copytree(landed, root)
    assert settings_at(root).lake.root == str(root)
    return root
