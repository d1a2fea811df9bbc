"""The producer against a real broker: what it counts is what Kafka holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.partitioner import murmur2

from lakehouse.core.errors import Exit
from lakehouse.products.registry import load_settings
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka
from lakehouse.settings.settings import Settings
from producers.command import settings_of
from producers.message import Message
from producers.sales.generator import Shares
from producers.sales.producer import generator, produce

pytestmark = pytest.mark.live
HERE = Path(__file__).parents[2]
SHARES = Shares(late=0.02, duplicates=0.05, corrupt=0.1)


def settings_for(kafka: str, topic: str) -> Settings:
    return settings_of("sales", None, kafka, topic)


def consumed(kafka: str, topic: str) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    try:
        parts = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(parts)
        wanted = sum(consumer.end_offsets(parts).values())
        records: list[Any] = []
        deadline = time.monotonic() + 200
        while len(records) < wanted and time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=500).values():
                records += batch
        return records
    finally:
        consumer.close()


def until_some(kafka: str, topic: str) -> None:
    """Wait until the topic holds a record, however busy the machine is."""
    deadline = time.monotonic() + 200
    with closing(KafkaConsumer(bootstrap_servers=kafka)) as consumer:
        while True:
            parts = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
            if parts and any(consumer.end_offsets(parts).values()):
                return
            assert time.monotonic() < deadline, "no record came"
            time.sleep(0.1)


def command(kafka: str, *words: str) -> list[str]:
    return [sys.executable, "producers/sales/producer.py", "--bootstrap-servers", kafka, *words]


def test_what_is_counted_is_what_kafka_holds(kafka: str) -> None:
    settings = settings_for(kafka, "counted")
    end = load_settings().products["sales"].earliest_time.replace(year=2026)
    source = generator(settings, 7, "live", SHARES).history(5_000, end, 30)
    summary = produce(settings, source, total=5_000)
    records = consumed(kafka, "counted")
    faults = Counter(
        value.decode() for r in records for name, value in r.headers if name == "fault"
    )
    assert summary.failed == 0
    assert len(records) == summary.sent == summary.acknowledged
    assert faults == {k: n for k, n in summary.by_kind.items() if k.startswith("corrupt:")}
    assert all(("contract", b"sales/2") in r.headers for r in records)
    assert summary.sent - sum(faults.values()) == summary.expected["bronze"]
    homes = defaultdict(set)
    for record in records:
        homes[record.key].add(record.partition)
    assert all(homes[key] == {(murmur2(key) & 0x7FFFFFFF) % 2} for key in homes)
    assert {p for partitions in homes.values() for p in partitions} == {0, 1}


def stopping(messages: Iterable[Message], stop: threading.Event) -> Iterator[Message]:
    """The messages; after a thousand of them it is time to stop."""
    for number, message in enumerate(messages):
        if number == 1_000:
            stop.set()
        yield message


def test_stop_ends_a_run_with_everything_acknowledged(kafka: str) -> None:
    settings = settings_for(kafka, "stopped")
    stop = threading.Event()
    end = load_settings().products["sales"].earliest_time.replace(year=2026)
    source = generator(settings, 7, "live", SHARES).history(1_000_000, end, 30)
    summary = produce(settings, stopping(source, stop), stop=stop)
    assert 0 < summary.sent < 1_000_000
    assert summary.acknowledged == summary.sent


def test_the_command_counts_and_ends(kafka: str) -> None:
    words = command(kafka, "--topic", "command", "--count", "500", "--json")
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == Exit.OK, done.stderr
    summary = json.loads(done.stdout)
    assert summary["acknowledged"] == summary["sent"] == len(consumed(kafka, "command"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.OK)]
)
def test_a_signal_ends_a_live_shop_with_its_summary(kafka: str, number: int, code: Exit) -> None:
    topic = f"signal-{number}"
    words = command(kafka, "--topic", topic, "--rate", "50", "--json")
    process = subprocess.Popen(words, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until_some(kafka, topic)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, err.decode()
    summary = json.loads(out)
    assert summary["sent"] == summary["acknowledged"] == len(consumed(kafka, topic)) > 0


def test_no_broker_is_said_without_a_traceback() -> None:
    environment = {**os.environ, "LAKEHOUSE_SERVICES_PATIENCE": "2 seconds"}
    done = subprocess.run(
        command("127.0.0.1:9", "--count", "5"), cwd=HERE, env=environment,
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == Exit.UNAVAILABLE
    assert "Kafka at 127.0.0.1:9" in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_that_goes_away_is_counted_as_failures(tmp_path: Path) -> None:
    cache = default_cache()
    java = find_java(cache)
    environment = {**os.environ, "LAKEHOUSE_KAFKA_REQUEST_TIMEOUT": "3 seconds"}
    with EmbeddedKafka.start(tmp_path, java=java, jars=kafka_jars(cache, java, print)) as kafka:
        words = command(kafka.bootstrap_servers, "--topic", "away", "--rate", "100", "--json")
        process = subprocess.Popen(
            words, cwd=HERE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until_some(kafka.bootstrap_servers, "away")
    time.sleep(1)  # records that the broker does not take
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == Exit.FAULT, err.decode()
    summary = json.loads(out)
    assert summary["failed"] == summary["sent"] - summary["acknowledged"] > 0
    assert b"Traceback" not in err
