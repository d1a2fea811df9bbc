"""The broker's disk is full: the command ends with an error, and continues once there is room."""

import time
from contextlib import ExitStack, suppress

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from lakehouse.cli.start import broker
from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.signals import stop_on_signals
from lakehouse.products.registry import load_settings
from lakehouse.services.home import home_of
from lakehouse.settings.kafka_client import ensure_topic
from tests.support.full_disk import disk_at, full

pytestmark = pytest.mark.live


def test_a_full_disk_under_the_broker_stops_the_command_in_words(tmp_path):
    root = tmp_path / "lake"
    settings = load_settings().with_root(root)
    with disk_at(home_of(root) / "kafka", "96m") as mounted:
        with (
            ExitStack() as later,
            pytest.raises(ServiceUnavailable) as caught,
            broker(settings) as running,
            stop_on_signals() as stop,
        ):
            _send_until_stopped(running, stop, lambda: later.enter_context(full(mounted, 0)))
        assert str(mounted) in str(caught.value)
        assert "its disk is full" in str(caught.value)
        with broker(settings) as running:
            place = TopicPartition("sales", 0)
            consumer = KafkaConsumer(bootstrap_servers=running.kafka.bootstrap_servers)
            consumer.assign([place])
            consumer.seek(place, 0)
            assert next(consumer).value == b"first"
            consumer.close()


def _send_until_stopped(settings, stop, fill):
    """One record, then a full disk, then more of them until the command is told to stop."""
    deadline = time.monotonic() + 200
    ensure_topic(settings.kafka, settings.products["sales"])
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, max_block_ms=500)
    producer.send("sales", b"first", partition=0).get(60)
    fill()
    while not stop.wait(0.01):
        assert time.monotonic() < deadline, "the broker goes on"
        with suppress(KafkaError):
            producer.send("sales", bytes(10_000), partition=0)
    producer._sender.force_close()  # what waits is given up: close() alone would raise
    producer.close(timeout=60)
