"""One client erased from a lake that both writers made, against a real broker."""

import json
import os
import random
import signal
import subprocess
import time

import pytest
from kafka import KafkaProducer

from tests.conftest import encode, sale
from tests.live.conftest import LAKEHOUSE, ROOT, account, make_topic, sales_from, verb
from tests.support.erased import GONE, traces

pytestmark = pytest.mark.live
NOW = {"event_time": "2026-01-05T10:00:00Z"}
CLIENTS = 30
FLOWS = ("sales.bronze", "sales.silver")


@pytest.fixture(scope="module")
def environment(kafka):
    return sales_from(kafka, f"erased-{os.getpid()}", LAKEHOUSE_SALES_PARTITIONS="1")


def produce(kafka, environment, first, count):
    """Events of some clients, every thirtieth of the one to erase, and a broken one of theirs."""
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
    events = [
        sale(
            event_id=f"e{n}",
            order_id=f"o{n}",
            client_id=f"c{n % CLIENTS}" if n % CLIENTS else GONE,
            **NOW,
        )
        for n in range(first, first + count)
    ]
    for value in [*encode(*events), b'{"client_id": "' + GONE.encode()]:
        producer.send(environment["LAKEHOUSE_SALES_TOPIC"], value, partition=0)
    producer.flush()
    producer.close()


@pytest.fixture(scope="module")
def root(kafka, environment, land, tmp_path_factory):
    """Landed by Spark's writer, then by delta-rs."""
    root = tmp_path_factory.mktemp("erased") / "lake"
    make_topic(environment)
    produce(kafka, environment, 0, 600)
    land(FLOWS, {**environment, "LAKEHOUSE_BRONZE_PATH": "cluster"}, root)
    produce(kafka, environment, 600, 300)
    land(FLOWS, environment, root)
    return root


def audited(root, environment):
    return account(root, environment, "bronze", "quarantine", "erased", "missing")


def test_a_client_is_gone_killed_or_not_and_the_flow_goes_on(kafka, root, environment, land):
    assert audited(root, environment) == [900, 2, 0, 0]
    assert len(traces(root)) > 10
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    words = [*LAKEHOUSE, "erase", GONE, "--yes", "--root", str(root)]
    running = subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    ledger = root / "erased" / "sales" / "_delta_log" / f"{1:020}.json"
    while not ledger.exists() and running.poll() is None:
        time.sleep(0.001)
    time.sleep(random.Random(seed).uniform(0, 0.4))
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = verb("erase", GONE, "--yes", "--json", "--root", root, **environment)
    found = json.loads(done.stdout)["sales"]
    assert found["erased_addresses"] == 32
    assert found["kafka"]["partitions"] == [
        {"partition": 0, "first": 0, "last": 901, "records": 32}
    ]  # fmt: skip
    assert found["kafka"]["kept"].startswith("for 7 days")
    assert "Kafka still holds 32 of these records" in done.stderr
    assert traces(root) == []
    assert audited(root, environment) == [870, 0, 32, 0]
    produce(kafka, environment, 901, 29)
    land(FLOWS, environment, root)
    assert audited(root, environment) == [899, 1, 32, 0]
