"""Mutants of logs, checkpoints, manifests and files, in a process of their own: it may die."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from tests.conftest import long
from tests.hostile import table
from tests.hostile.fuzz import TRIED

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1_200)  # of which a busy machine takes four times what is needed
@pytest.mark.parametrize(("first", "count"), [(0, TRIED), *long((TRIED, 9 * TRIED))])
def test_no_mutant_brings_a_traceback_a_hang_or_a_write_outside(first, count):
    """Each is drawn by its number: the long way goes on with other numbers."""
    cache = default_cache()  # a verb that would fetch jars waits for whoever fetches them now
    kafka_jars(cache, find_java(cache), print)
    words = [sys.executable, "-m", "tests.hostile.fuzz", "1000", str(first), str(count)]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=1_100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert f"{count:,} mutants from {first}, 0 findings" in done.stdout


def test_the_table_of_verbs_and_attacks_is_todays():
    text = table.PATH.read_text("utf-8")
    assert table.written(text) == text
