"""What a broker that is killed has acknowledged is there when it is back."""

import os
import signal
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from lakehouse.core.processes import finished, own_environment, python
from lakehouse.products.churn.settings import churn_of
from lakehouse.services.broker_files import BrokerFiles
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.sinks.transactions import Transactions
from tests.conftest import settings_at

pytestmark = pytest.mark.live
WRITERS = 24


def started(home):
    java = find_java(default_cache())
    return EmbeddedKafka.start(
        home, java=java, jars=kafka_jars(default_cache(), java, lambda _: None)
    )


def settings_of(root, broker):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        return settings_at(root)


def ends(kafka, topic, isolation):
    options = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "x"}
    consumer = Consumer({**options, "isolation.level": isolation})
    try:
        places = [TopicPartition(topic, n) for n in range(3)]
        return [consumer.get_watermark_offsets(place, timeout=30)[1] for place in places]
    finally:
        consumer.close()


def test_a_transaction_that_was_acknowledged_at_a_kill_is_whole_afterwards(tmp_path):
    acknowledged = []
    with started(tmp_path) as broker:
        settings = settings_of(tmp_path / "lake", broker)
        kafka, product = settings.kafka, churn_of(settings)
        topic = product.topic
        ensure_topic(kafka, product)
        writers = [Transactions(kafka, topic, f"w{n}") for n in range(WRITERS)]
        for number, one in enumerate(writers):
            one.open(f"w{number}", 2**20)
            one.begin()
            for key in range(9):
                one.hand(topic, f"{key}", b"{}")
            one.flush()
        first = threading.Event()

        def commit(number):
            try:
                writers[number].commit()
            except KafkaException:
                return
            acknowledged.append(number)
            first.set()

        threads = [threading.Thread(target=commit, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        assert first.wait(200)
        os.kill(broker.pid, signal.SIGKILL)
        broker.stop()
        with started(tmp_path):
            for thread in threads:
                thread.join()
            for number, one in enumerate(writers):  # who comes back ends what it left open
                one.close()
                one.open(f"w{number}", 2**20)
            deadline = time.monotonic() + 200
            while ends(kafka, topic, "read_committed") != ends(kafka, topic, "read_uncommitted"):
                assert time.monotonic() < deadline, "a transaction never ends"
                time.sleep(0.2)
            for one in writers:
                one.close()


def test_a_controller_that_its_starter_left_behind_is_ended(tmp_path):
    with started(tmp_path) as broker:
        os.kill(broker.pid, signal.SIGKILL)
    files = BrokerFiles(tmp_path.resolve() / "kafka")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from lakehouse.services import fencing\n"
        "fencing._wait = lambda *_: os.kill(os.getpid(), 9)\n"
        "from tests.live.test_broker_killed import started\n"
        "started(Path(sys.argv[1]))"
    )
    assert finished([*python("-c", code), str(tmp_path)], env=own_environment()).returncode == -9
    left = files.fencing.running()
    assert left is not None
    with started(tmp_path):
        assert files.fencing.running() is None
