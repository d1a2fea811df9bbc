"""README's commands that only read, run as they are written, on a lake that the demo made."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.services.jars import default_cache
from lakehouse.services.java import find_java
from tests.live.conftest import ROOT
from tests.unit.test_readme import COMMANDS, READS, kind

pytestmark = pytest.mark.live


def shell(command, **environment):
    """Run one line as a reader's shell would, in an activated environment.

    A menu is given its first entry, and left.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["sh", "-c", command], cwd=ROOT, env={**os.environ, "PATH": path, **environment},
        input="1\nq\n", capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", [c for c in READS if c != "lakehouse doctor"], ids=str)
def test_a_command_that_reads(command, demo_lake):
    command = command.replace("var/demo", str(demo_lake))
    done = shell(command, LAKEHOUSE_LAKE_ROOT=str(demo_lake))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr
    if command == "./check_setup.sh":  # which hands on to `lakehouse doctor`
        assert "Spark wrote 3 rows, delta-rs read them" in done.stdout


def test_options_of_spark_submit():
    shown = shell("spark-submit --help", JAVA_HOME=str(find_java(default_cache()).home))
    known = set(re.findall(r"--[a-z-]+", shown.stdout + shown.stderr))
    jobs = [shlex.split(c) for c in COMMANDS if kind(c) == "job"]
    assert jobs
    for words in jobs:
        assert {word for word in words if word.startswith("--")} <= known
