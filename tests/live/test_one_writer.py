"""A second writer is refused by name, and the first drains. Kills: test_matrix."""

import os
import re
import signal
import subprocess
import time

import pytest

from lakehouse.core.errors import Exit
from tests.live.conftest import LAKEHOUSE, ROOT, sales_from, verb

pytestmark = pytest.mark.live


def test_two_at_once_are_refused_by_name_and_ctrl_c_drains(kafka, tmp_path):
    root, err = tmp_path / "lake", tmp_path / "stderr"
    topic = sales_from(kafka, tmp_path.name)
    verb("produce", "--count", 500, **topic)
    words = ["run", "sales.bronze", "sales.silver", "--root", str(root)]
    with err.open("wb") as errors:
        first = subprocess.Popen(
            [*LAKEHOUSE, *words], cwd=ROOT, env={**os.environ, **topic}, stderr=errors
        )
    try:
        deadline = time.monotonic() + 240
        while b"batch landed" not in err.read_bytes():
            assert first.poll() is None, err.read_text()
            assert time.monotonic() < deadline, err.read_text()
            time.sleep(0.1)
        second = verb(*words, check=False, **topic)
        assert second.returncode == Exit.LOCKED
        assert f"process {first.pid}" in second.stderr
        shop = verb("up", "sales", "--root", str(root), check=False, **topic)
        assert shop.returncode == Exit.LOCKED
        assert f"process {first.pid}" in shop.stderr
        assert "producing" not in shop.stderr  # nor were its events sent, among the first one's
        first.send_signal(signal.SIGINT)
        assert first.wait(200) == 0, err.read_text()
    finally:
        first.kill()
        first.wait()
    said = err.read_text()
    assert re.search(r'"flow": "sales.bronze".*"batch_id": 0, "version": \d+', said)
    assert "stopping: the batch in hand is finished first" in said
    assert "Traceback" not in said
    assert "Exception:" not in said
