"""A JVM's command line holds no secret, and a worker imports nothing from the working folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lakehouse.core.processes import own_environment

ROOT = Path(__file__).parents[2]
SECRET = 'c4n4ry "ü" \\ of=x'
CODE = """
import json, sys
from contextlib import suppress
import psutil
from lakehouse.cli.start import engine
from lakehouse.products.registry import load_settings
from lakehouse.runtime.session import session
def command_lines():
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            yield " ".join(process.cmdline())
spark = session(load_settings(), "alone", engine(lambda _: None))
lines = [*command_lines()]
import pyarrow
seen = spark.range(1).mapInArrow(
    lambda batches: (pyarrow.RecordBatch.from_pydict({"f": [__import__("json").__file__]})
                     for _ in batches), "f string").collect()[0].f
told = {k: spark.conf.get(k, None) for k in ("spark.my.password", "spark.app.name")}
print(json.dumps({"lines": [*lines, *command_lines()], "json": seen, **told}))
"""


def test_secrets_of_spark_conf_and_a_strangers_module(tmp_path):
    text = (ROOT / "config.ini").read_text("utf-8")
    config = text.replace("[spark.conf]", f"[spark.conf]\nspark.my.password = {SECRET}")
    (tmp_path / "config.ini").write_text(config, "utf-8")
    (tmp_path / "temporary").mkdir()
    (tmp_path / "json.py").write_text("open('ran', 'w')\nraise SystemExit('a stranger')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE], cwd=tmp_path, capture_output=True, text=True,
        env={**own_environment(), "TMPDIR": str(tmp_path / "temporary")}, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["spark.my.password"], found["spark.app.name"]) == (SECRET, "alone")
    assert found["json"] == json.__file__
    assert any("SparkSubmit" in line for line in found["lines"])
    assert [line for line in found["lines"] if "c4n4ry" in line] == []
    assert not (tmp_path / "ran").exists()
    left = [p for p in (tmp_path / "temporary").iterdir() if p.name.startswith("lakehouse-spark")]
    assert left == []
    shutil.rmtree(tmp_path / "temporary")
    assert "PYSPARK_SUBMIT_ARGS" not in os.environ
