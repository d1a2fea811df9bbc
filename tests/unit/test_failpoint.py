"""Failpoints: off without the variable, refused when misspelt, and a real end when armed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lakehouse.core import failpoint
from lakehouse.core.errors import SettingsError
from lakehouse.core.failpoint import VARIABLE, Failpoint, Step
from lakehouse.products.registry import sections_of_products, steps
from lakehouse.settings.settings import load

ROOT = Path(__file__).parents[2]


def run(code, armed):
    return subprocess.run(
        [sys.executable, "-c", f"from lakehouse.core.failpoint import *\n{code}"],
        cwd=ROOT, env={**os.environ, VARIABLE: armed}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_nothing_is_armed_by_itself():
    assert failpoint.ARMED is None
    for step in Step:
        failpoint.reach(step)


def test_the_named_coming_of_the_named_step_ends_the_process():
    steps = "reach(Step.BATCH_LANDED); reach(Step.BRONZE_COMMITTED); print('on', flush=True)\n"
    done = run(steps * 3, "bronze-committed:3")
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["on"] * 2)
    assert "failpoint bronze-committed" in done.stderr


def test_the_first_file_ends_the_process_while_it_writes(tmp_path):
    code = f"""
import time
folder = Path({str(tmp_path)!r})
(folder / "old.parquet").touch()
with writing(Step.BRONZE_FILES, str(folder)):
    (folder / "part=1").mkdir()
    time.sleep(0.2)
    print("nothing yet", flush=True)
    (folder / "part=1" / "new.parquet").touch()
    time.sleep(30)
"""
    done = run(code, "bronze-files")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "nothing yet\n")
    assert "as told" in done.stderr


def test_a_small_commit_does_not_come_before_the_end(tmp_path):
    code = f"""
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
uri = {str(tmp_path)!r}
write_deltalake(uri, pa.table({{"a": [1]}}))
table = DeltaTable(uri)
with writing(Step.COMPACTION_FILES, uri, 1):
    print(table.optimize.compact()["numFilesAdded"], flush=True)
write_deltalake(uri, pa.table({{"a": [2]}}), mode="append")
table.update_incremental()
with writing(Step.COMPACTION_FILES, uri, 2):
    table.optimize.compact(commit_properties=CommitProperties(max_commit_retries=0))
    print("committed", flush=True)
"""
    done = run(code, "compaction-files")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "0\n"), done.stderr
    assert "as told" in done.stderr
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    log = tmp_path / "_delta_log"
    deadline = time.monotonic() + 200
    while any(path.is_dir() for path in log.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(path.stem for path in log.glob("*.json")) == [f"{n:020}" for n in range(2)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bronze-comitted", "Did you mean 'bronze-committed'?"),
        ("xyz", "Use one of offsets-planned, "),
        ("batch-landed:0", "'0' is not a number from 1 on"),
        ("batch-landed:-1", "'-1' is not a number from 1 on"),
        ("batch-landed:x", "'x' is not a number from 1 on"),
        (":2", "'' is not a step"),
    ],
)
def test_an_unknown_step_is_refused_at_start(text, said):
    with pytest.raises(SettingsError) as caught:
        load(sections_of_products(), ROOT / "config.ini", {VARIABLE: text}, steps())
    assert said in str(caught.value)
    done = run("print('imported')", text)
    assert (done.returncode, done.stdout) == (0, "imported\n")


def test_a_step_is_read_with_and_without_a_number():
    assert Failpoint.read("batch-landed") == Failpoint(Step.BATCH_LANDED, 1)
    assert Failpoint.read("batch-landed:12") == Failpoint(Step.BATCH_LANDED, 12)


def test_every_step_is_reached_somewhere():
    code = "".join(
        path.read_text("utf-8") for folder in ("lakehouse", "producers")
        for path in (ROOT / folder).rglob("*.py") if path.name != "failpoint.py"
    )  # fmt: skip
    reached = {name.lower().replace("_", "-") for name in re.findall(r"\bStep\.(\w+)", code)}
    assert reached == {*steps()}


def test_a_source_has_steps_of_its_own():
    env = {VARIABLE: "slot-made:2"}
    load(sections_of_products(), ROOT / "config.ini", env, steps())
    code = "from producers.cdc.steps import Step as Own\nreach(Own.SLOT_MADE)\n" * 2
    done = run(code + "print('on')", env[VARIABLE])
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")
