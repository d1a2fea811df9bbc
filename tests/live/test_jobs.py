"""The two jobs under plain spark-submit, as separate processes against a broker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from lakehouse.services.jars import default_cache, spark_jars
from lakehouse.services.java import find_java
from tests.live.conftest import ROOT
from tests.live.test_crash import check

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def test_bronze_and_silver_under_spark_submit(kafka, tmp_path):
    cache = default_cache()
    java = find_java(cache)
    jars = ",".join(map(str, spark_jars(cache, java, print)))
    environment = {
        **os.environ,
        "JAVA_HOME": str(java.home),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "LAKEHOUSE_SALES_TOPIC": "sales-jobs",
        "LAKEHOUSE_LAKE_ROOT": str(tmp_path / "lake"),
    }
    sent = subprocess.run(
        [sys.executable, "producers/sales_producer.py", "--count", "1500", "--corrupt", "0.02",
         "--json"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    for job in ("bronze", "silver"):
        done = subprocess.run(
            [submit, "--master", "local[2]", "--jars", jars, f"jobs/sales_{job}.py",
             "--available-now"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    check(tmp_path / "lake", json.loads(sent.stdout))
