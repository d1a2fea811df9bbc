"""Memory that a flow has freed is the system's again, between other pieces too."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BATCHES = """
import psutil, pyarrow as pa
from lakehouse.core.memory import give_back
give_back()
pa.allocate_buffer(30_000_000)  # glibc's own threshold follows what was freed
before, batches, kept = psutil.Process().memory_info().rss, [], []
for _ in range(100):
    batches.append(pa.allocate_buffer(4_000_000))
    memoryview(batches[-1]).cast("B")[:] = b"x" * 4_000_000
    kept.append(pa.allocate_buffer(2_000))
batches.clear()
print(psutil.Process().memory_info().rss - before)
"""


def test_batches_that_are_freed_leave_no_memory_behind():
    done = subprocess.run(
        [sys.executable, "-P", "-c", BATCHES], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert int(done.stdout) < 50_000_000
