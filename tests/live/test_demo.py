"""The demo as a stranger runs it, and its lake: README's commands that read, the notebook."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.services.jars import default_cache
from lakehouse.services.java import find_java
from tests.live.conftest import ROOT, command, rows, verb
from tests.support.notebooks import outputs, pictures
from tests.support.readme import COMMANDS, PYTHON, READS, SCREENS, kind
from tests.support.terminal import Terminal

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo, run once: its root and what it printed."""
    root = tmp_path_factory.mktemp("demo") / "lake"
    return root, command("demo", "--count", 6000, "--root", root)


@pytest.fixture(scope="module")
def demo_lake(demo):
    """The root of a lake that the demo made."""
    return demo[0]


def test_the_demo_proves_itself(demo):
    _, done = demo
    assert "\nstarting this lake's Kafka …\n" in done.stderr  # which may take a while
    lines = done.stdout.splitlines()
    [verdict] = [
        line for line in lines if re.fullmatch(r"PROVEN: ([\d,]+) of \1 records, .*", line)
    ]
    assert verdict.endswith(", content of all")
    assert "DIFFERS" not in done.stdout
    assert len(lines) < 60  # the whole report is for `lakehouse report`
    assert "Traceback" not in done.stderr
    assert "incubator" not in done.stderr


def test_each_address_is_in_one_place_once(demo_lake):
    found = rows(
        demo_lake,
        """SELECT count(*) AS n, count(DISTINCT (p, o)) AS addresses, count(DISTINCT p) AS parts,
        sum(last) AS span FROM (
            SELECT "partition" AS p, "offset" AS o, 0 AS last FROM bronze.sales UNION ALL
            SELECT "partition", "offset", 0 FROM quarantine.sales)""",
    )[0]
    spans = rows(
        demo_lake,
        """SELECT p, min(o) AS first, max(o) + 1 AS next FROM (
            SELECT "partition" AS p, "offset" AS o FROM bronze.sales UNION ALL
            SELECT "partition", "offset" FROM quarantine.sales) GROUP BY 1""",
    )
    assert found["n"] == found["addresses"] == sum(s["next"] for s in spans)
    assert all(s["first"] == 0 for s in spans)


def test_tables_and_history(demo_lake):
    listed = json.loads(verb("tables", "--root", demo_lake, "--json").stdout)["tables"]
    assert {"bronze.sales", "quarantine.sales", "silver.sales_by_country"} <= {
        t["name"] for t in listed
    }
    status = json.loads(verb("status", "--root", demo_lake, "--json").stdout)
    assert [row["last_audit"] for row in status["landed"]] == ["PROVEN"]
    history = json.loads(verb("history", "bronze.sales", "--root", demo_lake, "--json").stdout)
    notes = [json.loads(c["note"]) for c in history["bronze.sales"] if c["note"]]
    assert notes[0]["ends"]["next"]


def test_time_travel(demo_lake):
    then = verb(
        "explore", "--root", demo_lake, "--version", 1, "--format", "json",
        "--sql", "SELECT count(*) AS n FROM bronze.sales",
    )  # fmt: skip
    now = rows(demo_lake, "SELECT count(*) AS n FROM bronze.sales")[0]["n"]
    assert 0 < json.loads(then.stdout)["rows"][0]["n"] < now


def test_a_lake_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "precious").touch()
    done = command("demo", "--root", tmp_path, check=False)
    assert done.returncode == 2
    assert (tmp_path / "precious").exists()


def shell(line, **environment):
    """Run one line as a reader's shell would, in an activated environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["sh", "-c", line], cwd=ROOT, env={**os.environ, "PATH": path, **environment},
        input="", capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("line", [c for c in READS if c != "lakehouse doctor"], ids=str)
def test_a_command_of_readme_that_reads(line, demo_lake):
    line = line.replace("var/demo", str(demo_lake))
    done = shell(line, LAKEHOUSE_LAKE_ROOT=str(demo_lake))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr
    if line == "./check_setup.sh":  # which hands on to `lakehouse doctor`
        assert "Spark wrote 3 rows, delta-rs read them" in done.stdout


@pytest.mark.parametrize("line", SCREENS, ids=str)
def test_a_command_of_readme_that_fills_the_terminal(line, demo_lake):
    words = shlex.split(line.replace("var/demo", str(demo_lake)))
    words[0] = (
        sys.executable if words[0] == "python" else str(Path(sys.executable).parent / "lakehouse")
    )
    with Terminal(words, ROOT, LAKEHOUSE_LAKE_ROOT=str(demo_lake)) as terminal:
        terminal.wait_for("by_country", "totals by currency")
        terminal.type("\x11")  # Ctrl+Q
        assert terminal.ended() == 0


def test_python_of_the_readme_runs(demo_lake):
    assert PYTHON
    for block in PYTHON:
        exec(block.replace("var/demo", str(demo_lake)), {})  # ours, as a reader runs it


def test_options_of_spark_submit():
    shown = shell("spark-submit --help", JAVA_HOME=str(find_java(default_cache()).home))
    known = set(re.findall(r"--[a-z-]+", shown.stdout + shown.stderr))
    jobs = [shlex.split(c) for c in COMMANDS if kind(c) == "job"]
    assert jobs
    for words in jobs:
        assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize(
    ("name", "plots"), [("sales_analysis", 3), ("time_travel", 1), ("operators_day", 2)]
)
def test_notebooks_run_and_draw(demo_lake, monkeypatch, name, plots):
    found = outputs(name, demo_lake, monkeypatch)
    assert pictures(found) >= plots
    if name == "time_travel":  # bronze, added up again, is what silver has
        texts = [o["data"]["text/plain"] for o in found if "text/plain" in o.get("data", {})]
        (equal,) = [re.findall(r"Decimal\('([\d.-]+)'\)", t) for t in texts if t[:9] == "(Decimal("]
        assert equal[0] == equal[1]
