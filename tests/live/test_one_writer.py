"""A second writer is refused by name. Kills: test_matrix; checkpoints: test_recovery."""

import os
import signal
import subprocess
import time

import pytest

from tests.live.conftest import LAKEHOUSE, ROOT

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


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
        time.sleep(5)
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
    finally:
        first.kill()
        first.wait()
