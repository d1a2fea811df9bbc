"""A verb's child: how it ended is told, or is how the verb ends; signals reach it."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
CHILD = """
import os, signal, sys, time
from lakehouse.cli.watched import watched
watched("lakehouse tables")
"""


def started(ending):
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"{CHILD}{ending}"], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def ended(ending):
    """Its code, what it wrote to stdout, and to stderr."""
    process = started(ending)
    out, told = process.communicate(timeout=200)
    return process.returncode, out, told


@pytest.mark.parametrize("number", ["SIGABRT", "SIGSEGV"])
def test_an_engine_that_ends_the_process_is_told_in_words_alone(number):
    code, out, told = ended(
        "os.write(2, b'memory allocation of 144 bytes failed')\n"
        f"os.kill(os.getpid(), signal.{number})"
    )
    assert (code, out) == (1, "")
    assert told.startswith(f"lakehouse tables: was ended by an engine ({number}): a file")
    assert "\n  fix: where the lake is yours, raise [explorer] memory_limit" in told
    assert "allocation" not in told


def test_a_child_that_ends_by_itself_is_as_if_it_were_not_there():
    code, out, told = ended("""
sys.stderr.write("ours\\n"); os.write(2, b"an engine's\\n"); print("data"); sys.exit(3)""")
    assert (code, out, told) == (3, "data\n", "ours\nan engine's\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_child_ends_with_its_process_and_that_as_the_child(number):
    process = started("signal.signal(2, signal.SIG_DFL); print(os.getpid(), flush=True)\n"
                      "time.sleep(600)")  # fmt: skip
    child = int(process.stdout.readline())
    assert child != process.pid
    process.send_signal(number)
    assert process.stdout.read() == ""  # which the child holds as well
    assert process.wait(200) == -number


def test_a_terminal_that_goes_away_ends_both():
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "import fcntl, os, termios\nos.setsid()\n"
         "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
         "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # not as nohup leaves it
         f"{CHILD}print(os.getpid(), flush=True)\n"
         "time.sleep(600)"],
        stdin=theirs, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    child = psutil.Process(int(process.stdout.readline()))
    os.close(theirs)
    os.close(ours)
    assert process.wait(200) == -signal.SIGHUP
    child.wait(200)


def test_a_process_with_threads_is_not_copied():
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import threading, time\n"
         "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
         f"import os\nbefore = os.getpid()\n{CHILD}print(os.getpid() == before)"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    assert done.stdout == "True\n"
