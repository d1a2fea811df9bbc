"""A lost checkpoint loses and doubles nothing; a second writer is refused. Kills: test_matrix."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.live.conftest import LAKEHOUSE, ROOT, command, rows

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


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


def test_a_lost_checkpoint_loses_and_doubles_nothing(kafka, tmp_path):
    root = tmp_path / "lake"
    environment = {
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "LAKEHOUSE_SALES_TOPIC": f"sales-lost-{os.getpid()}",
    }
    words = ["run", "sales.bronze", "sales.silver", "--available-now", "--root", root]
    total = []
    for seed in (1, 2):
        sent = subprocess.run(
            [sys.executable, "producers/sales_producer.py", "--count", "800", "--seed", str(seed),
             "--corrupt", "0.02", "--json"],
            cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        total.append(json.loads(sent.stdout))
        command(*words, **environment)
        checkpoint = root / "_checkpoints" / "sales.bronze"
        for path in sorted(checkpoint.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    command(*words, **environment)
    expected = {
        place: sum(s["expected"][place] for s in total) for place in ("bronze", "quarantine")
    }
    check(root, {"expected": expected})


def test_two_at_once_are_refused_by_name(kafka, tmp_path):
    root = tmp_path / "lake"
    environment = {
        **os.environ,
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "LAKEHOUSE_SALES_TOPIC": "sales-two",
    }
    flows = [*LAKEHOUSE, "run", "sales.bronze", "--root", str(root)]
    first = subprocess.Popen(flows, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        lock = root / "_locks" / "bronze.sales.lock"
        deadline = time.monotonic() + 60
        while not (lock.exists() and lock.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        second = subprocess.run(
            flows,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 6
        assert f"process {first.pid}" in second.stderr
        time.sleep(12)
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
    finally:
        first.kill()
        first.wait()
