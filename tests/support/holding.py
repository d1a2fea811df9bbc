"""Another process that holds tables' locks."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from datetime import timedelta
from pathlib import Path
from lakehouse.core.lock import write_locks
with write_locks(Path(sys.argv[1]), sys.argv[3:], sys.argv[2], timedelta(0)):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holding(folder, holder, *tables):
    """Another process that holds the locks of these tables; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), holder, *tables],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
