"""Prints what every JVM of the tests is started with; makes the archive of Kafka's classes first.

C1 alone compiles what short tests run for a third less time than both compilers take. The
archive is the product's own, and would be made as the first broker ends: here one serves a little
and ends, so that each of the brokers that tests start maps it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from lakehouse.core.lock import one_at_a_time
from lakehouse.services.broker_classes import Classes
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka

OPTIONS = "JDK_JAVA_OPTIONS"
C1 = "-XX:TieredStopAtLevel=1"
TOPIC = "t"


def options() -> str:
    """The options; the archive is made where there is none of these jars yet."""
    os.environ[OPTIONS] = C1
    cache = default_cache()
    java = find_java(cache)
    jars = kafka_jars(cache, java, partial(print, file=sys.stderr))
    with (
        one_at_a_time(cache / "tests.lock"),
        tempfile.TemporaryDirectory() as folder,
    ):
        if Classes.of(java, jars).made:
            with EmbeddedKafka.start(Path(folder), java=java, jars=jars) as broker:
                _use(broker.bootstrap_servers)
    return C1


def _use(servers: str) -> None:
    """Records of a transaction, read by a group."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.create_topics([NewTopic(TOPIC, 2, 1)])
    producer = KafkaProducer(bootstrap_servers=servers, transactional_id=TOPIC)
    producer.init_transactions()
    producer.begin_transaction()
    for _ in range(100):
        producer.send(TOPIC, b"value", headers=[("h", b"v")])
    producer.commit_transaction()
    producer.close()
    reader = KafkaConsumer(
        TOPIC, bootstrap_servers=servers, group_id=TOPIC, auto_offset_reset="earliest",
        isolation_level="read_committed",
    )  # fmt: skip
    for _ in range(20):
        if reader.poll(timeout_ms=500):
            break
    reader.commit()
    reader.close()
    admin.delete_topics([TOPIC])
    admin.close()


if __name__ == "__main__":
    print(options())
