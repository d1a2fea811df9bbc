"""Bad records on a real broker, cured by a setting, replayed, killed midway: and it is proven."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from kafka import KafkaProducer

from lakehouse.core.errors import Exit
from tests.conftest import encode, sale
from tests.live.conftest import LAKEHOUSE, ROOT, account, make_topic, rows, sales_from, verb
from tests.support.holding import holding

pytestmark = pytest.mark.live
OLD = "1999-06-01T10:00:00Z"
GOOD, CURED, HOPELESS = 400, 3000, 20
FLOWS = ("sales.bronze", "sales.silver")


def events():
    """Good events; old ones, some of them copies of good ones; and some that nothing cures."""
    now = {"event_time": "2026-01-05T10:00:00Z"}
    good = [sale(event_id=f"e{n}", order_id=f"o{n}", **now) for n in range(GOOD)]
    old = [
        sale(event_id=f"e{n % 2500 + 200}", client_id=f"c{n % 40}", event_time=OLD)
        for n in range(CURED)
    ]
    broken = [f"{{broken {n}".encode() for n in range(HOPELESS)]
    return [*encode(*good, *old), *broken]


@pytest.fixture(scope="module")
def environment(kafka):
    return sales_from(kafka, f"replayed-{os.getpid()}")


@pytest.fixture(scope="module")
def cured(environment):
    return {**environment, "LAKEHOUSE_SALES_EARLIEST": "1990-01-01"}


@pytest.fixture(scope="module")
def landed(kafka, environment, land, tmp_path_factory):
    """A lake where all of it has landed, and silver with it."""
    root = tmp_path_factory.mktemp("replayed") / "lake"
    make_topic(environment)
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
    for number, value in enumerate(events()):
        producer.send(environment["LAKEHOUSE_SALES_TOPIC"], value, partition=number % 2)
    producer.flush()
    producer.close()
    land(FLOWS, environment, root)
    return root


@pytest.fixture
def root(landed, tmp_path):
    shutil.copytree(landed, tmp_path / "lake")
    return tmp_path / "lake"


def audited(root, environment):
    return account(root, environment, "bronze", "quarantine", "missing")


def replay(root, environment, *words):
    done = verb("quarantine", "replay", *words, "--root", root, "--json", **environment)
    return json.loads(done.stdout)["sales"]


def assert_all_is_there(root, environment):
    assert audited(root, environment) == [GOOD + CURED, HOPELESS, 0]
    found = rows(
        root,
        """SELECT count(*) AS n, count(DISTINCT ("partition", "offset")) AS addresses,
            count(*) FILTER (is_duplicate) AS copies, count(DISTINCT event_id) AS events
        FROM bronze.sales""",
    )[0]
    assert found["n"] == found["addresses"] == GOOD + CURED
    assert found["copies"] == found["n"] - found["events"] > 0
    left = rows(root, "SELECT count(*) AS n FROM quarantine.sales WHERE replayed_version IS NULL")
    assert left[0]["n"] == HOPELESS


def test_a_changed_setting_brings_them_back(root, environment, cured, land):
    assert audited(root, environment) == [GOOD, CURED + HOPELESS, 0]
    assert replay(root, environment)["entered"] == 0
    assert replay(root, cured, "--dry-run")["entered"] == CURED
    assert replay(root, cured)["entered"] == CURED
    assert audited(root, environment) == [GOOD + CURED, HOPELESS, 0], "before silver follows too"
    land(["sales.silver"], environment, root)
    assert_all_is_there(root, environment)
    assert replay(root, cured)["entered"] == 0
    land(FLOWS, environment, root)
    assert_all_is_there(root, environment)


def test_killed_midway_and_completed_by_a_flow(root, environment, cured, land):
    """Killed at a random moment after the marks were committed, and once more anywhere.

    Completed by the same command at each point: tests/unit/test_quarantine.py.
    """
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    words = [*LAKEHOUSE, "quarantine", "replay", "--root", str(root)]
    for number in range(2):
        before = commits(root)
        running = subprocess.Popen(
            words, cwd=ROOT, env={**os.environ, **cured}, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + (60 if number == 0 else draw.uniform(1.5, 4))
        while commits(root) == before and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, 0.03))
        running.send_signal(signal.SIGKILL)
        running.wait()
        bronze, bad, missing = audited(root, environment)
        assert (bronze + bad, missing) == (GOOD + CURED + HOPELESS, 0)
    land(FLOWS, cured, root)
    assert_all_is_there(root, environment)


def commits(root):
    return len(list((root / "quarantine" / "sales" / "_delta_log").glob("*.json")))


def test_a_running_flow_is_named(root, cured):
    with holding(root / "_locks", "sales.bronze", "bronze.sales") as flow:
        done = verb("quarantine", "replay", "--root", root, check=False, **cured)
    assert done.returncode == Exit.LOCKED
    assert f"process {flow.pid}" in done.stderr
