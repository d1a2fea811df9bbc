"""A stranger's backup: its manifest is a claim, and nothing is made or moved on its word."""

import json
import os
import shutil

import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import LakehouseError
from lakehouse.operations.backup import backup
from tests.conftest import NOW, settings_at
from tests.hostile.verbs import limited, state_of


@pytest.fixture(scope="module")
def whole(landed, tmp_path_factory):
    """A backup that is whole."""
    to = tmp_path_factory.mktemp("backup") / "b"
    backup(settings_at(landed), to, NOW, lambda _: None)
    return to


def told(change):
    def attack(source):
        path = source / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return attack


def names(table):
    return told(lambda m: m["tables"].update({table: 0}))


def lists(name, **claim):
    return told(lambda m: m["files"].update({name: {"bytes": 7, "sha256": "0", **claim}}))


def first(source):
    return sorted(source.rglob("*.parquet"))[0]


def linked(source):
    path = first(source)
    path.unlink()
    path.symlink_to(source.parent / "home" / "diary.txt")


def piped(source):
    path = first(source)
    path.unlink()
    os.mkfifo(path)


def no_manifest_but(make):
    def attack(source):
        (source / "manifest.json").unlink()
        make(source / "manifest.json")

    return attack


def linked_folder(source):
    shutil.rmtree(source / "bronze")
    (source / "bronze").symlink_to(source.parent / "home", target_is_directory=True)


ATTACKS = {
    **{f"a table {t!r}": names(t) for t in (
        "../home/diary.txt", "..", "a.b/../../home", "/etc.x", "bronze./home", "a", "_locks.x",
        "bronze.../../home", "x" * 5000, "a.b\n",
    )},
    **{f"a file {n!r}": lists(n) for n in (
        "../home/diary.txt", "/etc/hostname", "bronze/sales/../../../home/diary.txt", "",
        "_locks/bronze.sales.lock", "manifest.json", "home/diary.txt", "bronze/sales/none",
        "file:///etc/hostname", "a\0b",
    )},
    "a size that is not so": told(
        lambda m: next(iter(m["files"].values())).update(bytes=10**15)
    ),
    "a size below nothing": told(lambda m: next(iter(m["files"].values())).update(bytes=-1)),
    "a size of another kind": told(lambda m: next(iter(m["files"].values())).update(bytes="1")),
    "files that are a list": told(lambda m: m.update(files=[])),
    "tables that are a list": told(lambda m: m.update(tables=[])),
    "a version below nothing": told(lambda m: m["tables"].update({"bronze.sales": -1})),
    "a manifest of nothing": told(lambda m: m.clear()),
    "a table without files": names("bronze.more"),
    "a deep value": lambda source: (source / "manifest.json").write_text(
        '{"x": ' + "[" * 100_000
    ),
    "a deep manifest": lambda source: (source / "manifest.json").write_text("[" * 100_000),
    "a link for a file": linked,
    "a pipe for a file": piped,
    "a link for a folder": linked_folder,
    "a pipe for the manifest": no_manifest_but(os.mkfifo),
    "a device for the manifest": no_manifest_but(lambda path: path.symlink_to("/dev/zero")),
    "a folder for the manifest": no_manifest_but(os.mkdir),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_backup_that_lies_is_refused_and_nothing_is_touched(lake, whole, tmp_path, attack):
    source = tmp_path / "b"
    shutil.copytree(whole, source)
    ATTACKS[attack](source)
    home, tables = state_of(tmp_path / "home"), state_of(lake / "bronze")
    words = ["restore", str(source), "--force", "--root", str(lake)]
    with limited():
        done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, LakehouseError), done.exception
    assert "fix: " in str(done.exception)
    assert state_of(tmp_path / "home") == home
    assert state_of(lake / "bronze") == tables
    assert not (lake / "_restore.partial").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "home", "lake"]


def test_the_backup_as_it_was_is_restored(lake, whole):
    done = CliRunner().invoke(app, ["restore", str(whole), "--force", "--root", str(lake)])
    assert done.exit_code == 0, done.output
