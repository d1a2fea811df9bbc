"""Ctrl-C at any moment: the batch in hand is finished, nothing hangs, nobody sees a trace.

Of `up`, whose sources end first: test_your_own_product; of one flow: test_one_writer.
"""

import os
import subprocess
import sys
import time

import pytest

from lakehouse.core.errors import Exit
from tests.conftest import long
from tests.live.conftest import ROOT, sales_from, verb

pytestmark = pytest.mark.live
STOPS = """
import random, sys, threading, time
from pathlib import Path
from lakehouse.cli.start import engine
from lakehouse.products.registry import load_settings
from lakehouse.products.registry import flows
from lakehouse.runtime.driver import run
from lakehouse.runtime.session import session
from lakehouse.products.sales.contract import SALES
from producers.sales.generator import Shares
from producers.sales.producer import generator, live
from producers.sending import send

settings, draw = load_settings(), random.Random(int(sys.argv[1]))
ended, flows = threading.Event(), [f for f in flows() if f.product == "sales"]
shop = generator(settings, 7, "stops", Shares(0.01, 0.01, 0.01))
load = threading.Thread(target=lambda: send(settings, SALES, live(shop, 50, ended), stop=ended))
load.start()
spark = session(settings, "stops", engine())
for _ in range(int(sys.argv[2])):
    stop, landed = threading.Event(), []

    def on_landed(batch):
        landed.append(batch)
        if len(landed) == 2:
            threading.Timer(draw.uniform(0, 0.5), stop.set).start()

    started = time.monotonic()
    run(flows, settings, lambda: spark, stop=stop, on_landed=on_landed)
    print("stopped", len(landed), round(time.monotonic() - started, 1), flush=True)
ended.set()
load.join()
"""


@pytest.mark.parametrize("times", [3, *long(12)])
def test_stopped_between_any_two_steps_of_a_batch(times, kafka, tmp_path):
    seed = int(time.time())
    print(f"seed {seed}")
    root = str(tmp_path / "lake")
    environment = sales_from(kafka, f"stops-{tmp_path.name}", LAKEHOUSE_LAKE_ROOT=root)
    done = subprocess.run(
        [sys.executable, "-c", STOPS, str(seed), str(times)],
        cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("stopped ") == times
    assert "Exception:" not in done.stderr, done.stderr[-3000:]
    assert verb("audit", "sales", check=False, **environment).returncode == Exit.OK
