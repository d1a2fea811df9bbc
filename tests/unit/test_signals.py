"""SIGTERM at any moment, in processes of their own: also with a pipe that nobody reads."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.cli.edge import saying_where_it_is_cut
from lakehouse.core.signals import Stopped

ROOT = Path(__file__).parents[2]
FULL = """
import fcntl, os, sys
from lakehouse.runtime import driver as runtime
from lakehouse.core.logging import configure_logging
from lakehouse.products.registry import load_settings
try:
    from lakehouse.core.signals import stop_on_signals
    enter = lambda: stop_on_signals(runtime.say_stopping)
except ImportError:
    enter = runtime.stop_on_signals
configure_logging("auto", "info")
flags = fcntl.fcntl(2, fcntl.F_GETFL)
fcntl.fcntl(2, fcntl.F_SETFL, flags | os.O_NONBLOCK)
try:
    while True:
        os.write(2, b"x")
except BlockingIOError:
    fcntl.fcntl(2, fcntl.F_SETFL, flags)
with enter() as stop:
    os.write(1, b"waiting\\n")
    while not stop.wait(0.05):
        pass
    os.write(1, b"stopped\\n")
    from lakehouse.cli.app import leave
    leave(0)
"""
STORM = """
import os, signal, threading
from lakehouse.core.signals import stop_on_signals
for _ in range(200):
    with stop_on_signals() as stop:
        threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while not stop.wait(0.0002):
            pass
print("all")
"""
HELD = """
import os, signal
from lakehouse.core.signals import Stopped, stopped_by_sigterm, uninterrupted
stopped_by_sigterm()
done = []
try:
    with uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("whole")
    done.append("never")
except Stopped:
    done.append("stopped")
print(done)
"""

ENDING = """
import sys, time
from lakehouse.cli.app import leave
class Slow:
    def flush(self):
        print("ending", flush=True)
        time.sleep(100)
sys.stderr = Slow()
leave(3)
"""


def test_a_signal_changes_nothing_of_how_a_verb_ended():
    process = subprocess.Popen([sys.executable, "-c", ENDING], cwd=ROOT, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"ending\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(200) == 3


def test_a_signal_stops_while_stderr_is_full():
    process = subprocess.Popen(
        [sys.executable, "-c", FULL], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(200) == 0
        assert process.stdout.readline() == b"stopped\n"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("program", "says"), [(STORM, "all"), (HELD, "['whole', 'stopped']")], ids=["storm", "held"]
)
def test_a_signal_at_any_moment(program, says):
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == says


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ctrl_c_is_told_from_a_polite_kill(name):
    code = (
        "import os, signal\nfrom lakehouse.core.signals import stop_on_signals\n"
        "with stop_on_signals() as stop:\n"
        f"    os.kill(os.getpid(), signal.{name})\n    assert stop.wait(200)\n"
        "print(stop.interrupted)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{name == 'SIGINT'}\n"


@pytest.mark.parametrize("cut", [KeyboardInterrupt, Stopped])
def test_a_verb_that_is_cut_says_what_it_leaves(cut, capsys):
    with pytest.raises(cut), saying_where_it_is_cut("the same command does the rest"):
        raise cut
    with pytest.raises(ValueError, match="other"), saying_where_it_is_cut("cut"):
        raise ValueError("other")
    assert capsys.readouterr().err == "the same command does the rest\n"
