"""A file within a folder: which texts name one, and what lies in its place is opened or refused."""

import os
from pathlib import Path

import pytest

from lakehouse.core import within
from lakehouse.core.errors import UsageError
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.paths import check_folder, check_root
from lakehouse.core.within import (
    Outside,
    Within,
    check_folders,
    check_tree,
    relative,
    rewritten,
)

NAMES = ["a.parquet", "day=2026-11-20/a b.parquet", "ü/#?%", "a..b", "hour=11:00:00/x", "..a/b"]
OUTSIDE = [
    "", ".", "./", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "//a", "file:///a", "file:a", "s3://b/a",
    "C:\\a", "\\a", "..\\a", "a\0b", "x" * 5000, None, 7, ["a"],
]  # fmt: skip
ENCODED = ["%2e%2e/a", "%2E./a", "..%2Fa", "a/%2e%2e/%2e%2e/b", "%2Fetc", "%252e%252e/a",
           "..%252Fa", "file%3A///a", "%00", "a%2F..%2Fb"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_below_the_folder_is_what_it_says(name):
    assert relative("/t", name) == name
    assert relative("/t", name.replace("%", "%25"), encoded=True) == name


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda n: repr(n)[:20])
def test_a_name_that_leaves_is_refused(name, tmp_path):
    with pytest.raises(Outside) as caught:
        Within.of(tmp_path, name)
    assert "fix: " in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ENCODED)
def test_so_is_one_that_leaves_when_it_is_decoded(name, tmp_path):
    with pytest.raises(Outside):
        Within.of(tmp_path, name, encoded=True)


def test_a_file_is_made_read_and_moved(tmp_path):
    with Within.of(tmp_path, "a/b/c").make() as file:
        file.write(b"x")
    Within.of(tmp_path, "a/b/c").move(Within.of(tmp_path, "d/e"))
    with Within.of(tmp_path, "d/e").read() as file:
        assert file.read() == b"x"
    with pytest.raises(FileExistsError):
        Within.of(tmp_path, "d/e").make()
    with pytest.raises(FileNotFoundError, match="none"):
        Within.of(tmp_path, "none").read()


@pytest.fixture
def odd(tmp_path):
    """A folder in which nothing is a file, and the user's own beside it."""
    own, folder = tmp_path / "own", tmp_path / "lake"
    own.mkdir()
    folder.mkdir()
    (own / "diary").write_text("mine")
    (folder / "link").symlink_to(own / "diary")
    (folder / "below").symlink_to(own, target_is_directory=True)
    (folder / "nowhere").symlink_to(own / "new")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    yield folder
    assert [p.name for p in own.iterdir()] == ["diary"]
    assert (own / "diary").read_text() == "mine"


@pytest.mark.parametrize("name", ["link", "below/diary", "zero", "folder", "pipe", "nowhere"])
def test_what_is_no_file_is_neither_read_nor_written(odd, name):
    with pytest.raises(Outside):
        Within.of(odd, name).read()
    with pytest.raises((Outside, FileExistsError)):
        Within.of(odd, name).make()
    with pytest.raises(Outside):
        rewritten(odd, name)


@pytest.mark.parametrize("name", ["link", "pipe", "nowhere", "zero"])
def test_a_lock_is_no_link(odd, name):
    with pytest.raises(Outside), one_at_a_time(odd / name):
        pass


def test_what_is_moved_is_the_link_and_to_no_linked_folder(odd):
    Within.of(odd, "link").move(Within.of(odd, "aside/link"))
    assert Path(odd, "aside/link").is_symlink()
    with pytest.raises(Outside):
        Within.of(odd, "aside/link").move(Within.of(odd, "below/link"))


def test_a_tree_with_a_link_is_refused(odd):
    with pytest.raises(Outside, match="is a link"):
        check_tree(odd)


@pytest.mark.parametrize("place", ["bronze", "bronze/sales", "_locks", "_locks/a.lock", "kafka"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_root_with_links_or_pipes_among_its_own_is_refused(tmp_path, place, kind):
    root = tmp_path / "lake"
    path = root / place
    path.parent.mkdir(parents=True)
    check_root(str(root))
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path)
    with pytest.raises(Outside, match=f"is a {kind}"):
        check_root(str(root))


def test_a_root_that_is_a_link_is_the_users_own_choice(tmp_path):
    (tmp_path / "large" / "bronze").mkdir(parents=True)
    (tmp_path / "lake").symlink_to(tmp_path / "large")
    check_root(str(tmp_path / "lake"))


@pytest.mark.parametrize("address", ["s3://b/a", "file:/a", "file:a", "abfss://c@a/x", "S3A://b"])
def test_an_address_is_no_root_and_no_backup(address):
    for check in (check_root, check_folder):
        with pytest.raises(UsageError, match="is an address"):
            check(address)


def test_folders_are_looked_at_once_however_many_files_they_hold(tmp_path, monkeypatch):
    """A log may name four hundred thousand files: a Path for each took five seconds."""
    made = []
    monkeypatch.setattr(within, "Path", lambda path: made.append(path) or Path(path))
    check_folders(tmp_path, [f"{tmp_path}/a/b/{n}" for n in range(1_000)])
    assert len(made) < 10
    (tmp_path / "a").symlink_to(tmp_path)
    with pytest.raises(Outside):
        check_folders(tmp_path, [f"{tmp_path}/a/b/1"])
