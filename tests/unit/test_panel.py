"""The picture of flows on a terminal, and none where there is no terminal."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from lakehouse.cli.panel import Panel, _age
from lakehouse.core import metrics
from tests.support.lake import copied
from tests.support.terminal import Terminal

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "lakehouse", "run", "sales.silver", "--available-now", "--root"]
NOWHERE = {"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


@pytest.fixture
def root(recovered_root, settings):
    return copied(recovered_root, settings).settings.lake.root


def test_flows_that_end_leave_one_picture(root):
    with Terminal([*COMMAND, root], ROOT, **NOWHERE) as terminal:
        terminal.wait_for("lakehouse run", "ended", "sales.silver", "rows/s")
        assert terminal.ended() == 0


def test_without_a_terminal_there_are_lines(root):
    done = subprocess.run(
        [*COMMAND, root], cwd=ROOT, env={**os.environ, **NOWHERE}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "rows/s" not in done.stderr
    assert "\x1b" not in done.stderr


def test_hostile_lines_are_shown_and_not_obeyed():
    panel = Panel("lakehouse run", ["panel.bronze"])
    metrics.ROWS.labels("panel.bronze", "quarantine").inc(3)
    line = {"timestamp": "2026-11-29T10:00:00Z", "level": "info", "event": "[bold]batch[/]"}
    panel.take({**line, "reason": "\x1b]0;title\x07\nnext"})
    panel.tell("dashboard: http://127.0.0.1:1")
    console = Console(width=120, file=io.StringIO())
    console.print(panel.picture(120))
    shown = console.file.getvalue()
    assert "10:00:00 [bold]batch[/]  reason=" in shown
    assert "\x1b" not in shown
    assert "panel.bronze" in shown
    assert "dashboard: http://127.0.0.1:1" in shown


def test_ages_lie_evenly_within_their_bucket():
    counts = [0] * (len(metrics.AGES) + 1)
    counts[1] = 100  # 0.1 to 0.25 s
    assert _age(counts, 0.5) == "0.17 s"
    assert _age([0] * len(counts), 0.5) == ""
    assert _age([0] * (len(counts) - 1) + [4], 0.5) == "> 60 min"
