"""Prints what every JVM of the tests is started with: C1 alone, and Kafka's classes read once.

C1 alone compiles what short tests run for a third less time than both compilers take. The
archive holds the classes of a broker that has served a little, parsed: each of the brokers that
tests start maps it, and a JVM of another class path goes without. Spark has one of its own.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from lakehouse.core.lock import one_at_a_time
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import Java, find_java
from lakehouse.services.kafka import EmbeddedKafka

OPTIONS = "JDK_JAVA_OPTIONS"
C1, QUIET = "-XX:TieredStopAtLevel=1", "-Xlog:cds=off -Xlog:cds+dynamic=off"
TOPIC, KEPT = "t", 2


def options() -> str:
    """The options; the archive is made where there is none of these jars yet."""
    cache = default_cache()
    java = find_java(cache)
    jars = kafka_jars(cache, java, partial(print, file=sys.stderr))
    folder = cache / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"kafka-{_key(java, jars)}.jsa"
    with one_at_a_time(folder / "lock"):
        if not archive.exists():
            _make(archive, java, jars)
    os.utime(archive)
    return f"{C1} -XX:SharedArchiveFile={archive} {QUIET}" if archive.stat().st_size else C1


def _key(java: Java, jars: Sequence[Path]) -> str:
    """What the archive depends on: a JVM refuses it if a jar, or a jar's time, has changed."""
    release = java.home / "release"
    parts = [str(java.home), release.read_text("utf-8") if release.is_file() else ""]
    parts += [f"{jar}:{jar.stat().st_mtime_ns}" for jar in jars]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _make(archive: Path, java: Java, jars: Sequence[Path]) -> None:
    """A broker serves a little, and writes the archive as it ends; an empty file if it did not."""
    for old in sorted(archive.parent.glob("kafka-*.jsa"), key=lambda p: p.stat().st_mtime)[:-KEPT]:
        old.unlink()
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="part-") as part:
        made = Path(part, "made")
        os.environ[OPTIONS] = f"{C1} -XX:ArchiveClassesAtExit={made} {QUIET}"
        with EmbeddedKafka.start(Path(part, "home"), java=java, jars=jars) as broker:
            _use(broker.bootstrap_servers)
        made.touch()
        made.rename(archive)


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
