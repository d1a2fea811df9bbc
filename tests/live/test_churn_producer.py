"""A file of customers whose sender is killed, again and again: each row is sent, under one id."""

import csv
import itertools
import json
import subprocess
import sys
import time

import pytest

from lakehouse.sinks.kafka_records import messages
from producers.churn import table
from producers.churn.customers import Customers
from tests.live.conftest import ROOT, settings_of

pytestmark = pytest.mark.live
ROWS, CHUNK, KILLS = 400, 10, 2


def test_a_file_is_gone_on_with_after_each_kill(kafka, tmp_path):
    file, place = tmp_path / "customers.csv", tmp_path / "checkpoint.json"
    with file.open("w", newline="") as out:
        lines = csv.DictWriter(out, table.COLUMNS)
        lines.writeheader()
        lines.writerows(dict(one.facts) for one in itertools.islice(Customers(3), ROWS))
    topic = f"churn.killed.{abs(hash(tmp_path)) % 10**8}"
    words = [
        sys.executable, "producers/churn/producer.py", "--csv", str(file), "--checkpoint",
        str(place), "--batch-size", str(CHUNK), "--topic", topic, "--bootstrap-servers", kafka,
    ]  # fmt: skip
    reached = 0
    for _ in range(KILLS):
        with subprocess.Popen(words, cwd=ROOT) as sender:
            until = time.monotonic() + 240
            while sender.poll() is None and time.monotonic() < until:
                if place.exists() and (now := json.loads(place.read_bytes())["rows"]) > reached:
                    reached = now
                    break
                time.sleep(0.01)
            sender.kill()
    assert 0 < reached < ROWS
    subprocess.run(words, cwd=ROOT, check=True, timeout=400)
    assert json.loads(place.read_bytes())["rows"] == ROWS
    settings = settings_of({"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka})
    ids = [
        json.loads(one.value())["event_id"]
        for batch in messages(settings.kafka, topic)
        for one in batch
    ]
    assert len({*ids}) == ROWS
    assert len(ids) <= ROWS + KILLS * CHUNK
