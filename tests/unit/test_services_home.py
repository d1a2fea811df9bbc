"""Services' data lies outside of the lake, by its id; what a record names is our own process."""

import errno
import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.cli.start import broker
from lakehouse.core.errors import Exit, LakehouseError, ServiceUnavailable, TableLocked, UsageError
from lakehouse.core.own import mac, state_folder
from lakehouse.doctor.services import services_checks
from lakehouse.explorer.app.history import History
from lakehouse.explorer.export import target
from lakehouse.services.broker_files import BrokerFiles
from lakehouse.services.home import (
    InLake,
    empty,
    forsaken,
    home_of,
    known_home,
    left_in,
    move_in,
    unusable,
)
from lakehouse.services.jars import default_cache
from lakehouse.services.record import Record
from tests.hostile.lakes import sales


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKEHOUSE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def lake(tmp_path):
    (tmp_path / "lake").mkdir()
    return tmp_path / "lake"


def with_kafka(lake):
    (lake / "kafka" / "data").mkdir(parents=True)
    (lake / "kafka" / "data" / "meta.properties").write_text("cluster.id=mine\n")
    return lake


def test_a_lake_that_cannot_be_written_is_not_taken_for_the_state_folder(lake, state):
    away = OSError(errno.EROFS, "Read-only file system", f"{lake}/._id.part")
    told = str(unusable(lake, away))
    assert told.startswith(f"lake {lake}: cannot be written: Read-only file system\n")
    assert "--root" in told
    assert "LAKEHOUSE_STATE" not in told
    away.filename = f"{state}/lock"
    assert "LAKEHOUSE_STATE" in str(unusable(lake, away))


def test_a_lake_keeps_its_home_and_a_copy_is_given_another(lake, tmp_path, state):
    assert known_home(lake) is None
    home = home_of(lake)
    assert home == home_of(lake) == known_home(lake)
    assert home.parent == state
    assert not home.stat().st_mode & 0o066
    copy = shutil.copytree(lake, tmp_path / "copy")
    assert known_home(copy) is None
    other = home_of(copy)
    assert other not in {home, state}
    assert (home_of(lake), home_of(copy)) == (home, other)
    lake.rename(tmp_path / "moved")
    assert home_of(tmp_path / "moved") == home


def test_a_user_without_a_home_is_told_what_to_set(lake, monkeypatch):
    """As in a container that runs by a number of which the system knows nothing."""

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    for name in ("HOME", "LAKEHOUSE_STATE", "LAKEHOUSE_CACHE", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for ask in (default_cache, state_folder, lambda: home_of(lake)):
        with pytest.raises(ServiceUnavailable, match="HOME: is not set"):
            ask()
    assert (forsaken(), History().statements, mac(b"a cache")) == ([], [], "")
    with pytest.raises(UsageError, match="home folder that nobody knows"):
        target("~/rows.csv")


@pytest.mark.parametrize("home", ["rel", ""])
def test_a_home_that_is_another_in_each_folder_is_refused(monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("LAKEHOUSE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(ServiceUnavailable, match=f"HOME: is '{home}', which is no absolute path"):
        default_cache()


def test_a_link_to_a_lake_is_the_lake(lake, tmp_path):
    (tmp_path / "link").symlink_to(lake)
    assert home_of(tmp_path / "link") == home_of(lake)


@pytest.mark.parametrize("text", ["../../home", "/etc", "", ".", "A" * 32, "0" * 31, "\0" * 32])
def test_an_id_that_is_none_names_no_folder(text, lake, state):
    (lake / "_id").write_text(text)
    home = home_of(lake)
    assert home.parent == state
    assert len(home.name) == 32
    assert (lake / "_id").read_text().strip() == home.name


def test_an_id_behind_a_link_or_a_pipe_is_none(lake, tmp_path, state):
    (tmp_path / "other").write_text("0" * 32)
    (lake / "_id").symlink_to(tmp_path / "other")
    assert home_of(lake).name != "0" * 32
    assert (tmp_path / "other").read_text() == "0" * 32
    (lake / "_id").unlink()
    os.mkfifo(lake / "_id")
    assert home_of(lake).parent == state


def test_a_state_folder_that_others_can_write_to_is_refused(lake, state):
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(ServiceUnavailable, match="others can write to it") as caught:
        home_of(lake)
    assert "LAKEHOUSE_STATE" in caught.value.remedy


def test_no_service_is_started_on_data_in_a_lake(lake, settings, state):
    """A stranger's broker, as an earlier version kept it: refused, with the command to run."""
    with_kafka(lake)
    settings = settings.with_root(lake)
    with pytest.raises(InLake, match="run the stranger's commands") as caught, broker(settings):
        pass
    assert "lakehouse move-services --root" in caught.value.remedy
    assert not state.exists()
    assert sorted(p.name for p in lake.iterdir()) == ["kafka"]


def test_data_of_an_old_lake_is_moved_once(lake, state):
    with_kafka(lake)
    words = ["move-services", "--root", str(lake)]
    asked = CliRunner().invoke(app, words, input="n\n")
    assert "a lake that you made?" in asked.output
    assert left_in(lake) == ["kafka"]
    assert CliRunner().invoke(app, [*words, "--yes"]).exit_code == 0
    home = home_of(lake)
    assert BrokerFiles(home / "kafka").cluster_id() == "mine"
    assert not (lake / "kafka").exists()
    assert "nothing is moved" in CliRunner().invoke(app, words).output
    with_kafka(lake)
    with pytest.raises(UsageError, match="is there already"):
        move_in(lake)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_data_with_links_or_pipes_is_not_moved(kind, lake, tmp_path):
    with_kafka(lake)
    odd = lake / "kafka" / "data" / "odd"
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to(
        "/etc/passwd" if kind == "link" else "/etc"
    )
    with pytest.raises(LakehouseError, match=r"a link|a pipe"):
        move_in(lake)
    assert left_in(lake) == ["kafka"]


def test_data_that_a_server_uses_is_not_moved(lake):
    with_kafka(lake)
    words = [sys.executable, "-c", "input()", str(lake / "kafka" / "server.properties")]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as server:
        with pytest.raises(TableLocked, match=f"process {server.pid} serves"):
            move_in(lake)
        server.kill()


def test_a_demo_begins_with_empty_services(lake):
    home = home_of(lake)
    (home / "kafka" / "data").mkdir(parents=True)
    empty(lake)
    assert not (home / "kafka").exists()
    assert known_home(lake) == home


@pytest.fixture
def server(tmp_path):
    """A process whose command line ends as a broker's does."""
    words = ["kafka.Kafka", str(tmp_path / "server.properties")]
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.readline()  # before it runs, the system may know no command line of it
        yield Record(tmp_path / "broker.json", words, os.geteuid()), process
        process.kill()


def test_a_record_of_our_own_process_is_believed_until_it_ends(server):
    record, process = server
    record.remember(process.pid, 9)
    found = record.running()
    assert (found.pid, found.port) == (process.pid, 9)
    record.forget(process.pid + 1)
    assert record.running() == found
    record.forget(process.pid)
    assert record.running() is None
    record.remember(process.pid, 9)
    process.kill()
    process.wait()
    assert record.running() is None


def test_a_process_that_begins_just_now_is_known(tmp_path):
    """Linux has no command line of it yet: of 600 that were asked at once on a busy machine 255."""
    record = Record(tmp_path / "broker.json", ["30"], os.geteuid())
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        for _ in range(20):
            with subprocess.Popen(["sleep", "30"]) as process:
                record.remember(process.pid, 9)
                found = record.running()
                process.kill()
            assert found is not None
    finally:
        for one in busy:
            one.kill()
            one.wait()


@pytest.mark.parametrize("what", ["pid", "born", "user", "words"])
def test_a_record_of_another_process_is_not(what, server):
    record, process = server
    record.remember(process.pid, 9)
    told = json.loads(record.path.read_text())
    if what == "pid":
        told["pid"] = os.getppid()
    elif what == "born":
        told["born"] = "earlier"
    record.path.write_text(json.dumps(told))
    other = Record(
        record.path,
        ["-D", "/other"] if what == "words" else record.words,
        1 if what == "user" else record.user,
    )
    assert psutil.pid_exists(process.pid)
    assert other.running() is None


def test_the_doctor_names_data_of_lakes_that_are_gone(lake, settings, tmp_path):
    home = home_of(lake)
    (home / "kafka").mkdir()
    (home / "kafka" / "log").write_bytes(bytes(3_000_000))
    [check] = services_checks(settings)
    assert check.state == "pass"
    shutil.rmtree(lake)
    [check] = services_checks(settings)
    assert check.state == "warn"
    assert check.detail == f"3 MB of 1 lakes that are no longer at {lake}"
    assert check.fix.endswith(f"rm -r {home}")


def test_an_audit_of_a_lake_that_others_made_starts_and_makes_nothing(settings, state):
    lake = Path(settings.lake.root)
    sales(lake)
    with_kafka(lake)
    before, made = sorted(p.name for p in lake.iterdir()), sorted(state.iterdir())
    done = CliRunner().invoke(app, ["audit", "sales", "--root", str(lake)])
    assert done.exit_code == Exit.NO_TABLE, done.output
    assert "CANNOT TELL" in done.output
    assert "no data of this lake's embedded one is here" in done.output
    assert sorted(p.name for p in lake.iterdir()) == before
    assert sorted(state.iterdir()) == made
