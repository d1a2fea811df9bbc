"""States in which a reader that works ahead could lose, double or stall; each found by hunting."""

import os
import pickle
import signal
import subprocess
import sys
import time

import psutil
import pytest
from confluent_kafka import Producer
from kafka import KafkaProducer, TopicPartition
from kafka.admin import NewPartitions, NewTopic

from lakehouse.core.errors import ServiceAway, TableDamaged
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.reader.process import EARLIEST
from lakehouse.ingest.topic import TopicReader
from lakehouse.runtime.driver import flow, run
from lakehouse.runtime.query import BronzeQuery
from lakehouse.settings.kafka_client import ensure_topic
from tests.conftest import SALES
from tests.live.conftest import sales_from, settings_of
from tests.live.reading import MIB, ends, send, take_all
from tests.support.engine import connected
from tests.support.headers import Odd
from tests.support.processes import commands_below

pytestmark = pytest.mark.live


@pytest.fixture
def query(kafka, topic, tmp_path):
    """Makes the flow of the topic, which reads and lands ranges that a test plans."""
    made = []

    def make(**environment):
        settings = settings_of(sales_from(kafka, topic, **environment))
        settings = settings.with_root(tmp_path / "lake")
        id_ = ensure_topic(settings.kafka, settings.product("sales"))
        publisher = BronzePublisher.open(SALES, settings, id_, connected(settings))
        asked = TopicReader(settings.kafka, topic)
        made.append(BronzeQuery(publisher, settings, asked, lambda _: None))
        made[-1].read_ahead()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def land(query, upto):
    query._land_in_parts(query._reader, upto)


def offsets(query):
    rows = query._publisher.bronze.rows()
    return sorted(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))


def test_a_range_that_ends_among_aborted_records_does_not_stall_the_next(kafka, topic, reader):
    send(kafka, topic, 5, transaction=f"{topic}-a")
    send(kafka, topic, 3, transaction=f"{topic}-b", commit=False)
    one = reader()
    one.begin({0: EARLIEST})
    for end in (6, 8, 9, 10):
        assert one.take({0: end}, MIB, lambda: False).ends == {0: end}


def readers():
    below = commands_below(psutil.Process())
    return {one for one, command in below if "lakehouse.ingest.reader" in command}


def until_read(query, end):
    """Wait until the driver holds what is below this offset of partition 0: it was read ahead."""
    reader, deadline = query._reader._process, time.monotonic() + 200
    while not (held := reader._held[0]) or held[-1].after < end:
        assert time.monotonic() < deadline
        reader._receive([0])


def test_it_reads_while_spark_starts_and_ends_where_spark_does_not(kafka, topic, tmp_path):
    settings = settings_of(sales_from(kafka, topic)).with_root(tmp_path / "lake")
    before = readers()

    def session():
        deadline = time.monotonic() + 200
        while readers() <= before and time.monotonic() < deadline:
            time.sleep(0.1)
        raise RuntimeError(f"Spark does not start; {len(readers() - before)} reads ahead")

    with pytest.raises(RuntimeError, match="1 reads ahead"):
        run([flow("sales.bronze")], settings, session, available_now=True)
    assert readers() <= before


def test_records_that_expired_ahead_are_given_up_where_settings_allow_it(
    kafka, topic, query, admin
):
    send(kafka, topic, 30)
    one = query(LAKEHOUSE_KAFKA_FAIL_ON_DATA_LOSS="false")
    one._reader.begin(one._position.ends, one._topic.read())
    land(one, {0: 10, 1: 0})
    one._reader.close()  # what it had read ahead is gone
    admin.delete_records({TopicPartition(topic, 0): 20})
    for end in (15, 25, 30):
        land(one, {0: end, 1: 0})
    assert offsets(one) == [(0, n) for n in [*range(10), *range(20, 30)]]
    [lost] = one._position.ends.lost
    assert (lost.first, lost.next, lost.offsets) == (10, 20, 10)


def test_what_expired_after_it_was_read_is_not_given_up(kafka, topic, query, admin):
    send(kafka, topic, 30)
    one = query(LAKEHOUSE_KAFKA_FAIL_ON_DATA_LOSS="false")
    land(one, {0: 10, 1: 0})
    until_read(one, 30)
    admin.delete_records({TopicPartition(topic, 0): 20})
    land(one, {0: 30, 1: 0})
    assert len(offsets(one)) == 30
    assert one._position.ends.lost == ()


def test_records_that_expired_ahead_stop_the_flow_unless_settings_allow_it(
    kafka, topic, query, admin
):
    send(kafka, topic, 30)
    one = query()
    land(one, {0: 10, 1: 0})
    one._reader.close()
    admin.delete_records({TopicPartition(topic, 0): 20})
    with pytest.raises(TableDamaged, match="offsets 10 to 19"):
        land(one, {0: 30, 1: 0})


@pytest.mark.parametrize("count", [3, 60], ids=["shorter", "longer"])
def test_a_topic_rebuilt_while_it_reads_lands_nothing(kafka, topic, query, admin, count):
    send(kafka, topic, 30)
    one = query(LAKEHOUSE_KAFKA_FAIL_ON_DATA_LOSS="false")
    land(one, {0: 30, 1: 0})
    admin.delete_topics([topic])
    deadline = time.monotonic() + 200
    while topic in admin.list_topics() and time.monotonic() < deadline:
        time.sleep(0.1)
    admin.create_topics([NewTopic(topic, 2, 1)])
    time.sleep(0.5)
    send(kafka, topic, count)
    with pytest.raises(TableDamaged, match="recreated"):
        land(one, {0: 60, 1: 0})
    assert len(offsets(one)) == 30


def test_a_topic_rebuilt_with_more_partitions_is_waited_for(kafka, topic, admin):
    """A client does not know at once of partitions that are new."""
    with TopicReader(settings_of({"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka}).kafka, topic) as one:
        assert set(one.read().ranges) == {0, 1}
        admin.delete_topics([topic])
        deadline = time.monotonic() + 200
        while topic in admin.list_topics() and time.monotonic() < deadline:
            time.sleep(0.1)
        admin.create_topics([NewTopic(topic, 3, 1)])
        found = None
        while found is None and time.monotonic() < deadline:
            try:
                found = one.read()
            except ServiceAway as error:
                assert "partition=2" in error.fault  # noqa: PT017  # most often it is met
        assert set(found.ranges) == {0, 1, 2}


def test_partitions_that_come_while_it_runs_are_read_from_their_beginning(
    kafka, topic, reader, admin
):
    send(kafka, topic, 5)
    one = reader()
    one.begin({0: EARLIEST, 1: EARLIEST})
    assert len(take_all(one, {0: 5, 1: 0})[0]) == 5
    admin.create_partitions({topic: NewPartitions(3)})
    send(kafka, topic, 4, partition=2)
    one.begin({0: 5, 1: 0, 2: EARLIEST})
    assert take_all(one, {0: 5, 1: 0, 2: 4})[0] == [(2, n) for n in range(4)]


def test_an_open_transaction_holds_back_what_follows_it_and_no_more(kafka, topic, reader):
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic}-open"})
    producer.init_transactions(20)
    send(kafka, topic, 3)
    producer.begin_transaction()
    producer.produce(topic, b"{", partition=0)
    producer.flush(20)
    send(kafka, topic, 3)
    assert ends(kafka, topic)[0] == 3
    one = reader()
    one.begin({0: EARLIEST})
    assert len(take_all(one, {0: 3})[0]) == 3
    producer.commit_transaction(20)
    assert len(take_all(one, {0: 8})[0]) == 4


def test_names_that_are_no_utf8_in_thousands_of_records(kafka, topic, reader):
    producer = Producer({"bootstrap.servers": kafka})
    for n in range(5000):
        producer.produce(topic, b"{", partition=0, headers=[("h", b"%d" % n)])
    producer.flush(20)
    python = KafkaProducer(bootstrap_servers=kafka)
    for n in range(3):
        python.send(topic, b"{", partition=0, headers=[(Odd("x"), b"odd %d" % n)])
    python.close()
    one = reader()
    one.begin({0: EARLIEST})
    taken = one.take({0: 5003}, 64 * MIB, lambda: False)
    rows = taken.rows.sort_by("offset")
    assert rows["offset"].to_pylist() == list(range(5003))
    wanted = [[{"key": "h", "value": b"%d" % n}] for n in range(5000)]
    wanted += [[{"key": "a\ufffd\ufffdz", "value": b"odd %d" % n}] for n in range(3)]
    assert rows["headers"].to_pylist() == wanted


def test_a_child_that_is_stopped_for_a_while_goes_on(kafka, topic, reader):
    send(kafka, topic, 5000, size=500)
    one = reader(ahead=MIB)
    one.begin({0: EARLIEST})
    taken = take_all(one, {0: 100})[0]
    os.kill(one._process.pid, signal.SIGSTOP)
    subprocess.Popen(["/bin/sh", "-c", f"sleep 3; kill -CONT {one._process.pid}"])
    taken += take_all(one, {0: 5000})[0]
    assert taken == [(0, n) for n in range(5000)]


def test_small_batches_and_a_hurried_partition_lose_nothing(kafka, topic, query):
    send(kafka, topic, 12, size=600_000)
    send(kafka, topic, 400, partition=1, size=3000)
    one = query(LAKEHOUSE_STREAM_MAX_MB_PER_BATCH="1")
    one._reader.begin(one._position.ends, one._topic.read())
    time.sleep(1)
    for upto in ({0: 0, 1: 200}, {0: 6, 1: 201}, {0: 12, 1: 400}):
        land(one, upto)
    assert offsets(one) == [(0, n) for n in range(12)] + [(1, n) for n in range(400)]


def test_a_reader_begun_again_while_partitions_wait_reads_them_all(kafka, topic, reader):
    send(kafka, topic, 3000, size=2000)
    send(kafka, topic, 3000, partition=1, size=2000)
    one = reader(ahead=MIB)
    one.begin({0: EARLIEST, 1: EARLIEST})
    time.sleep(0.5)
    one._hurry([1])
    one._at.clear()
    one.begin({0: 5, 1: 5})
    assert len(take_all(one, {0: 3000, 1: 3000})[0]) == 2 * 2995


def test_no_secret_and_no_word_of_the_child(kafka, topic, reader, capfd):
    send(kafka, topic, 10)
    one = reader()
    one.begin({0: EARLIEST})
    take_all(one, {0: 10})
    line = " ".join(psutil.Process(one._process.pid).cmdline())
    assert line.endswith("-P -m lakehouse.ingest.reader")
    one.close()
    assert capfd.readouterr().err == ""


DRIVER = """
import pickle, sys, time
from lakehouse.ingest.reader.process import ReaderProcess
one = ReaderProcess(pickle.load(sys.stdin.buffer), 20.0)
one.begin({0: -2})
print(one._process.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_driver_leaves_no_child_that_writes(kafka, topic, reader):
    send(kafka, topic, 3000, size=5000)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    driver.stdin.write(pickle.dumps(reader()._start))
    driver.stdin.close()
    child = psutil.Process(int(driver.stdout.readline()))
    time.sleep(1.5)
    driver.kill()
    driver.wait()
    assert psutil.wait_procs([child], timeout=60)[0] == [child]
