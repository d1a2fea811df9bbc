"""One writer a table: who holds a lock is named, and who was killed is not."""

import os
import re
import signal
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from lakehouse.core.errors import Exit, ServiceUnavailable, TableDamaged, TableLocked
from lakehouse.core.lock import write_locks
from tests.support.holding import holding

NOW = timedelta(0)


def refusal(folder, table="bronze.sales"):
    with pytest.raises(TableLocked) as caught, write_locks(folder, [table], "me", NOW):
        pass
    assert caught.value.exit_code == Exit.LOCKED
    return str(caught.value)


def test_the_holder_is_named(tmp_path):
    with holding(tmp_path, "sales.bronze", "bronze.sales", "quarantine.sales") as holder:
        said = refusal(tmp_path)
        assert f"is being written by sales.bronze, process {holder.pid} on" in said
        with write_locks(tmp_path, ["silver.x"], "me", NOW):
            pass
        with pytest.raises(TableLocked), write_locks(tmp_path, ["a", "bronze.sales"], "me", NOW):
            pass
        with write_locks(tmp_path, ["a"], "me", NOW):
            pass  # what was taken before the refusal was given back


def test_a_killed_holder_leaves_no_lock_and_its_name_misleads_nobody(tmp_path):
    with holding(tmp_path, "killed.flow", "bronze.sales") as killed:
        pass
    left = (tmp_path / "bronze.sales.lock").read_text()
    assert f'"pid": {killed.pid}' in left
    with holding(tmp_path, "next.flow", "bronze.sales") as holder:
        assert f"next.flow, process {holder.pid}" in refusal(tmp_path)
        (tmp_path / "bronze.sales.lock").write_text(left)  # it has not signed yet
        said = refusal(tmp_path)
        assert "killed.flow" not in said
        assert "is being written by another process" in said


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "\x00", '{"flow": 1}'])
def test_a_name_that_cannot_be_read_is_no_fault(tmp_path, text):
    with holding(tmp_path, "a.flow", "bronze.sales"):
        (tmp_path / "bronze.sales.lock").write_text(text)
        assert "another process" in refusal(tmp_path)


def test_a_number_that_another_process_has_now_is_not_its_name(tmp_path):
    with holding(tmp_path, "old.flow", "bronze.sales"):
        path = tmp_path / "bronze.sales.lock"
        old = re.sub(r'"pid": \d+', f'"pid": {os.getpid()}', path.read_text())
        path.write_text(re.sub(r'"since": "20\d\d', '"since": "2001', old))
        assert "old.flow" not in refusal(tmp_path)
        path.write_text(old.replace('"host": "', '"host": "elsewhere-'))
        assert "old.flow, process" in refusal(tmp_path), "another machine's cannot be asked"


def test_a_name_goes_when_its_lock_is_given_back(tmp_path):
    with write_locks(tmp_path, ["bronze.sales"], "me", NOW):
        assert (tmp_path / "bronze.sales.lock").read_text()
    assert (tmp_path / "bronze.sales.lock").read_text() == ""


def test_nobody_writes_a_lake_whose_restore_was_cut_but_who_mends_it(tmp_path):
    """Asked once the locks are had: a restore that was waited for may have been killed."""
    (tmp_path / "_restore").mkdir()
    locks, words = tmp_path / "_locks", "a restore into it was cut short"
    with pytest.raises(TableDamaged, match=words), write_locks(locks, ["a"], "me", NOW):
        pass
    with write_locks(locks, ["a"], "me", NOW, mends=True):
        pass


def test_waiting_for_a_lock_ends_when_it_is_given_back(tmp_path):
    with holding(tmp_path, "brief.flow", "bronze.sales") as holder:
        holder.send_signal(signal.SIGKILL)
        with write_locks(tmp_path, ["bronze.sales"], "me", timedelta(minutes=2)):
            assert "me, process" in refusal(tmp_path), "the waiting one has it now"


@pytest.fixture
def without_rights():
    """A folder that may be read and not written, and a user for whom that holds."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name, "_locks")
        folder.mkdir()
        (folder / "bronze.sales.lock").touch()
        for path in (Path(name), folder):
            path.chmod(0o555)
        (folder / "bronze.sales.lock").chmod(0o444)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            for path in (Path(name), folder):
                path.chmod(0o755)


@pytest.mark.parametrize("place", ["{}", "{}/new", "{}/bronze.sales.lock"])
def test_a_lock_folder_that_cannot_be_written_is_told(without_rights, place):
    folder = Path(place.format(without_rights))
    for table in ("bronze.sales", "silver.new"):
        with (
            pytest.raises(ServiceUnavailable, match="cannot be written") as caught,
            write_locks(folder, [table], "me", NOW),
        ):
            pass
        assert str(folder) in caught.value.place
        assert "rights" in caught.value.remedy
