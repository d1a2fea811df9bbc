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
from tests.live.conftest import ROOT, rows

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def check(root, summary):
    """Produced = bronze ∪ quarantine, each address once, and silver as recomputed from bronze."""
    found = rows(
        root,
        """SELECT (SELECT count(*) FROM bronze.sales) AS bronze,
        (SELECT count(DISTINCT ("partition", "offset")) FROM bronze.sales) AS addresses,
        (SELECT count(*) FROM quarantine.sales) AS quarantine,
        (SELECT count(DISTINCT ("partition", "offset")) FROM quarantine.sales) AS bad_addresses""",
    )[0]
    expected = summary["expected"]
    assert found["bronze"] == found["addresses"] == expected["bronze"]
    assert found["quarantine"] == found["bad_addresses"] == expected["quarantine"]
    for table, key in (
        ("by_country", "country"), ("by_client", "client_id"), ("by_segment", "segment"),
    ):  # fmt: skip
        wrong = rows(
            root,
            f"""WITH want AS (SELECT coalesce({key}, '') AS k, currency, count(*) AS lines,
                    sum(quantity) AS units, sum(quantity * unit_price) AS net,
                    count(DISTINCT order_id) FILTER (quantity > 0) AS orders
                FROM bronze.sales WHERE NOT is_duplicate GROUP BY 1, 2),
            got AS (SELECT {key} AS k, currency, lines, units, net_revenue AS net, orders
                FROM silver.sales_{table})
            SELECT * FROM want FULL JOIN got USING (k, currency)
            WHERE (want.lines, want.units, want.net, want.orders)
                IS DISTINCT FROM (got.lines, got.units, got.net, got.orders)""",
        )
        assert wrong == []


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
        [sys.executable, "producers/sales/producer.py", "--count", "1500", "--corrupt", "0.02",
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
