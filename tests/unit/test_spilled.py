"""What has no room in memory is written to a folder that nobody can name, and goes with it."""

import os
import signal
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from lakehouse.core.errors import DiskFull
from lakehouse.explorer.allowed import SqlRejected
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.spilled import spill_room
from lakehouse.explorer.sql import Reader
from tests.conftest import encode, sale, settings_at
from tests.support.full_disk import disk_at
from tests.support.lake import Lake
from tests.support.sql import INTO

ROOT = Path(__file__).parents[2]
LARGE = "SELECT count(*) AS n FROM (SELECT DISTINCT range || '-a-key-of-many-words' FROM range({}))"
FITS, FAR_TOO_LARGE = LARGE.format(2_000_000), LARGE.format(100_000_000)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    made = settings_at(tmp_path_factory.mktemp("s") / "lake")
    Lake(made).land(encode(sale()), 0)
    return made


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def reader(lake, memory="60 MB"):
    few = {"memory_limit": memory, "timeout": timedelta(minutes=10)}
    settings = lake.explorer.model_copy(update=few)
    return Reader(Catalogue(lake.lake.root), settings, ["bronze.sales"])


def rooms(folder):
    return [*folder.glob("lakehouse-explorer-*")]


def test_a_question_that_does_not_fit_into_memory_is_answered(lake, temporary):
    with reader(lake) as asked:
        assert asked.ask(FITS).rows.to_pylist() == [{"n": 2_000_000}]
        [room] = rooms(temporary)
        assert room.stat().st_mode & 0o777 == 0o700
    assert not rooms(temporary)


def test_without_a_folder_it_is_refused_and_what_fits_is_answered(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with reader(lake) as asked:
        assert asked.ask("SELECT count(*) AS n FROM bronze.sales").rows.to_pylist() == [{"n": 1}]
        with pytest.raises(SqlRejected, match="memory_limit"):
            asked.ask(FITS)


def test_what_is_written_is_bounded(lake, temporary, monkeypatch):
    monkeypatch.setattr("lakehouse.explorer.spilled._TIMES", 0.5)
    with reader(lake) as asked:
        with pytest.raises(SqlRejected, match="memory_limit") as caught:
            asked.ask(FAR_TOO_LARGE)
        assert str(temporary) not in str(caught.value)
        assert asked.ask("SELECT 1 AS one").rows.to_pylist() == [{"one": 1}]


def test_the_bound_is_ten_times_the_memory_and_half_of_the_disk_at_most(temporary):
    free = os.statvfs(temporary).f_bavail * os.statvfs(temporary).f_frsize
    with spill_room("1 MB") as small, spill_room("900000 GB") as large:
        assert small.most == 10_000_000
        assert free * 0.4 < large.most < free * 0.6
        assert Path(small.folder).name != Path(large.folder).name


def test_a_disk_that_fills_meanwhile_is_told_in_words(lake, tmp_path, monkeypatch):
    with disk_at(tmp_path / "disk", "32m") as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        monkeypatch.setattr("lakehouse.explorer.spilled._SHARE", 1_000)
        with reader(lake) as asked:
            with pytest.raises(DiskFull, match="has no room for what the query") as caught:
                asked.ask(FAR_TOO_LARGE)
            assert "TMPDIR" in str(caught.value)
            assert "lakehouse-explorer" not in str(caught.value)
            assert asked.ask("SELECT 1 AS one").rows.to_pylist() == [{"one": 1}]


ASKING = """
import sys
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import Reader
from tests.conftest import settings_at
from pathlib import Path
made = settings_at(Path(sys.argv[1]))
with Reader(Catalogue(made.lake.root), made.explorer, ["bronze.sales"]) as asked:
    print("at work", flush=True)
    sys.stdin.read()
"""


def test_what_a_kill_left_goes_with_the_next_one(lake, temporary):
    process = subprocess.Popen(
        [sys.executable, "-c", ASKING, lake.lake.root], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "at work\n"
        [left] = rooms(temporary)
        with reader(lake):
            assert left in rooms(temporary)
        process.send_signal(signal.SIGKILL)
        process.wait()
        next(left.iterdir()).joinpath("duckdb_temp_storage").write_bytes(b"x")
        with reader(lake):
            assert left not in rooms(temporary)
    finally:
        process.kill()
        process.communicate()
    assert not rooms(temporary)


@pytest.mark.parametrize("statement", INTO, ids=ascii)
def test_no_statement_reaches_into_it_even_by_its_name(lake, temporary, statement):
    with reader(lake) as asked:
        [room] = rooms(temporary)
        [folder] = room.iterdir()
        folder.joinpath("a.csv").write_text("a\n1\n")
        with pytest.raises(SqlRejected):
            asked.ask(statement.replace("{room}", str(folder)))
        assert [path.name for path in folder.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("statement", INTO, ids=ascii)
def test_who_does_not_know_its_name_reaches_nothing_even_unchecked(
    lake, temporary, statement, monkeypatch
):
    """The closed connection alone: the folder that it lies in can be neither listed nor read."""
    monkeypatch.setattr("lakehouse.explorer.sql.check", lambda *_: None)
    with reader(lake) as asked:
        [room] = rooms(temporary)
        for guess in (str(room), f"{room}/*", f"{room}/{'0' * 32}", f"{temporary}/**"):
            with pytest.raises(SqlRejected):
                asked.ask(statement.replace("{room}", guess))
        assert [path.name for path in room.iterdir()] == [Path(asked._room.folder).name]
        assert not [*Path(asked._room.folder).iterdir()]
