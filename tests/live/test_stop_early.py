"""SIGTERM in the first seconds: the command ends as told, and no service of it is left behind."""

import os
import random
import signal
import subprocess
import time

import psutil
import pytest

from lakehouse.services.home import home_of
from tests.conftest import long
from tests.live.conftest import LAKEHOUSE, ROOT

pytestmark = pytest.mark.live


def left_of(root):
    """Processes that name the root or its services' home, and are not this one."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if (str(root) in words or str(home_of(root)) in words) and process.pid != os.getpid():
            found.append((process.pid, words[:200]))
    return found


def ended(words, root, moment, errors):
    """Start a command, end it by SIGTERM when ``moment`` has come; its exit code."""
    with errors.open("wb") as out:
        process = subprocess.Popen(
            [*LAKEHOUSE, *words, "--root", str(root)], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=out,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while not moment():
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < deadline, errors.read_text()
            time.sleep(0.05)  # to look at every process takes some milliseconds
        process.send_signal(signal.SIGTERM)
        return process.wait(200)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("when", ["launched", "spark", *long("formatting", "answers")])
def test_up_ended_while_it_starts_leaves_nothing(when, tmp_path):
    root, errors = tmp_path / "lake", tmp_path / "stderr"
    wait = random.uniform(0, 0.5)
    print(f"and then {wait:.3f} s")

    def moment():
        if when == "formatting":
            come = (home_of(root) / "kafka").exists()
        elif when == "launched":
            come = any("kafka.Kafka" in words for _, words in _wide(root))
        else:
            come = b"Kafka on" in errors.read_bytes()
        if come:
            time.sleep(wait + (4 if when == "spark" else 0))
        return come

    code = ended(["up"], root, moment, errors)
    said = errors.read_text()
    assert code == 0, said
    assert "Traceback" not in said
    assert left_of(root) == []


def _wide(root):
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(home_of(root)) in words:
            yield process.pid, words


def test_a_capture_ended_while_it_starts_leaves_nothing(tmp_path):
    root, errors = tmp_path / "lake", tmp_path / "stderr"

    def moment():
        return (home_of(root) / "kafka" / "broker.log").exists()

    code = ended(["capture", "orders"], root, moment, errors)
    said = errors.read_text()
    assert code in {0, 130}, said
    assert "Traceback" not in said
    assert left_of(root) == []
