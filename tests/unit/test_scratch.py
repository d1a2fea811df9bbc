"""The audit's scratch folder goes with it: also at SIGTERM and Ctrl-C, and after a kill -9."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lakehouse.audit.pins import engine
from lakehouse.core.errors import Exit

ROOT = Path(__file__).parents[2]
AT_WORK = """
import os, signal, threading
from lakehouse.audit.pins import engine
from lakehouse.audit.steps import Steps
from lakehouse.cli import app as cli
from lakehouse.products.registry import load_settings
from lakehouse.storage.duck import query
signal.signal(signal.SIGINT, signal.default_int_handler)

def app():
    with engine(load_settings()) as connection:
        Steps().run("a step", lambda: work(connection))
        os.write(1, b"went on")

def work(connection):
    os.write(1, b"at work\\n")
    {work}

cli.app = app
cli.main()
"""
LONG = 'query(connection, "SELECT sum(hash(x) % 7) FROM range(4000000000) t(x)")'
BLOCKED = "signal.pause()"


@pytest.fixture(autouse=True)
def processes():
    """Those that a test starts, none of which outlives it."""
    found = []
    yield found
    for process in found:
        process.kill()
        process.communicate()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(folder):
    return [*folder.glob("lakehouse-duckdb-*")]


def started(folder, work, processes):
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK.format(work=work)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    processes.append(process)
    assert process.stdout.readline() == "at work\n"
    assert len(left(folder)) == 1
    return process


@pytest.mark.parametrize("work", [LONG, BLOCKED], ids=["in a query", "in Python"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_audit_which_leaves_nothing(temporary, processes, number, work):
    process = started(temporary, work, processes)
    time.sleep(0.7)  # it is in the query by then
    process.send_signal(number)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, out, left(temporary)) == (Exit.INTERRUPTED, "", []), err
    assert "Traceback" not in err


def test_what_a_kill_left_goes_with_the_next_audit_and_what_is_at_work_stays(
    temporary, processes, settings
):
    killed = started(temporary, BLOCKED, processes)
    killed.kill()
    killed.wait()
    [was_left] = left(temporary)
    (was_left / "duckdb_temp_storage").write_bytes(b"x")
    started(temporary, BLOCKED, processes)
    [its_own] = left(temporary)
    with engine(settings):
        assert len(left(temporary)) == 2
    assert left(temporary) == [its_own] != [was_left]
