"""The two jobs under plain spark-submit, as separate processes against a broker."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pyspark
import pytest

from lakehouse.cli.start import engine
from lakehouse.services.folder import free_ports
from lakehouse.services.jars import default_cache, spark_jars
from lakehouse.services.java import find_java
from tests.conftest import long
from tests.live.conftest import ROOT, rows, verb

pytestmark = pytest.mark.live
SPARK = Path(pyspark.__file__).parent


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


def submitting(kafka, tmp_path, topic):
    """The words before a job's own, by which its JVM maps Spark's classes; its environment."""
    cache = default_cache()
    java = find_java(cache)
    jars = ",".join(map(str, spark_jars(cache, java, print)))
    environment = {
        **os.environ,
        "JAVA_HOME": str(java.home),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "LAKEHOUSE_SALES_TOPIC": topic,
        "LAKEHOUSE_LAKE_ROOT": str(tmp_path / "lake"),
    }
    mapped = [
        "--driver-class-path", jars.replace(",", os.pathsep),
        "--driver-java-options", " ".join(engine(print).java_options),
    ]  # fmt: skip
    return [SPARK / "bin" / "spark-submit", "--jars", jars, *mapped], environment


def test_bronze_and_silver_under_spark_submit(kafka, tmp_path):
    """By Spark's own writer, as on a cluster; its code is compiled here, as not in tests/spark."""
    words, environment = submitting(kafka, tmp_path, "sales-jobs")
    environment["LAKEHOUSE_BRONZE_PATH"] = "cluster"
    sent = verb("produce", "--count", 1500, "--corrupt", 0.02, "--json", **environment)
    for job in ("bronze", "silver"):
        done = subprocess.run(
            [*words, "--master", "local[2]", f"jobs/sales_{job}.py", "--available-now"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    check(tmp_path / "lake", json.loads(sent.stdout))


@contextmanager
def standalone(environment, folder):
    """A standalone master and its one worker; the master's address."""
    port = free_ports(1)[0]
    started, master = [], f"spark://127.0.0.1:{port}"
    spark_class, deploy = SPARK / "bin" / "spark-class", "org.apache.spark.deploy"
    host = ["--host", "127.0.0.1", "--webui-port", "0"]
    try:
        for name, words in (
            ("master.Master", ["--port", str(port)]),
            ("worker.Worker", ["--cores", "1", "--memory", "600m", "--work-dir", folder, master]),
        ):
            with (folder / f"{name}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        [spark_class, f"{deploy}.{name}", *host, *words], cwd=folder,
                        env={**environment, "SPARK_HOME": str(SPARK)}, stdout=log, stderr=log,
                    )
                )  # fmt: skip
        yield master
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextmanager
def local(_environment, _folder):
    """No master of its own."""
    yield "local[2]"


@pytest.mark.parametrize("cluster", [local, *long(standalone)], ids=lambda c: c.__name__)
def test_sigterm_to_spark_submit_lets_a_job_finish_its_batch(cluster, kafka, tmp_path):
    words, environment = submitting(kafka, tmp_path, f"sales-ended-{cluster.__name__}")
    environment["LAKEHOUSE_STREAM_STOP_TIMEOUT"] = "2 minutes"  # a busy machine's batch
    produced = [sys.executable, "producers/sales/producer.py", "--rate", "5"]
    conf = {"spark.executor.memory": "500m", "spark.driver.host": "127.0.0.1"}
    words += [word for pair in conf.items() for word in ("--conf", "=".join(pair))]
    errors = tmp_path / "said"
    with cluster(environment, tmp_path) as master, errors.open("wb") as said:
        shop = subprocess.Popen(produced, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        job = subprocess.Popen(
            [*words, "--master", master, "jobs/sales_bronze.py"], cwd=ROOT, env=environment,
            stdout=said, stderr=said,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 240
            while b"batch landed" not in errors.read_bytes():
                assert job.poll() is None, errors.read_text()[-3000:]
                assert time.monotonic() < deadline, errors.read_text()[-3000:]
                time.sleep(0.1)
            time.sleep(1)  # in the middle of the next one
            job.send_signal(signal.SIGTERM)
            assert job.wait(300) == 0, errors.read_text()[-3000:]
        finally:
            for process in (shop, job):
                process.kill()
                process.wait()
    told = errors.read_text()
    assert "stopping: the batch in hand is finished first" in told
    for trace in ("RpcEnv", "Traceback", "\tat org.apache"):
        assert trace not in told, told[-4000:]
