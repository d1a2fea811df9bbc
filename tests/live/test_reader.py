"""The reader of one machine: every committed record of a range, once, whatever ends it."""

import os
import pickle
import signal
import time
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.ingest.reader import Start
from lakehouse.ingest.reader.process import EARLIEST, ReaderFault, ReaderProcess
from lakehouse.ingest.topic import TopicReader
from lakehouse.ingest.verdict import TimeRules
from lakehouse.settings.kafka_client import reader_options
from tests.conftest import SALES, encode, sale
from tests.live.conftest import settings_of

pytestmark = pytest.mark.live
RULES = TimeRules(datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=9999))
MIB = 1024 * 1024


@pytest.fixture
def topic(kafka, tmp_path):
    """A topic of two partitions; its name."""
    name = f"reader-{tmp_path.name}"
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics([NewTopic(name, 2, 1)])
    admin.close()
    return name


@pytest.fixture
def reader(kafka, topic):
    """Makes readers of the topic, and ends them."""
    made = []

    def make(ahead=8 * MIB, patience=20.0, servers=kafka):
        settings = settings_of({"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": servers})
        start = Start(
            reader_options(settings.kafka), pickle.dumps(settings.kafka), topic, SALES, RULES, ahead
        )
        made.append(ReaderProcess(start, patience))
        return made[-1]

    yield make
    for one in made:
        one.close()


def send(kafka, topic, count, *, partition=0, size=0, transaction="", commit=True):
    options = {"bootstrap.servers": kafka, "message.max.bytes": 8 * MIB}
    producer = Producer({**options, **({"transactional.id": transaction} if transaction else {})})
    if transaction:
        producer.init_transactions(20)
        producer.begin_transaction()
    for n in range(count):
        (value,) = encode(sale(event_id=f"{transaction}{n}", note="x" * size))
        producer.produce(topic, value, partition=partition)
    producer.flush(30)
    if transaction:
        (producer.commit_transaction if commit else producer.abort_transaction)(20)


def ends(kafka, topic):
    settings = settings_of({"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka})
    with TopicReader(settings.kafka, topic) as asked:
        return {p: after for p, (_, after) in asked.read().ranges.items()}


def take_all(reader, upto, most=64 * MIB):
    """The addresses of all parts of a range, and how many parts there were."""
    found, parts, at = [], 0, {p: reader._at[p] for p in upto}
    while any(at[p] < end for p, end in upto.items()):
        taken = reader.take(upto, most, lambda: False)
        found += zip(
            taken.rows["partition"].to_pylist(), taken.rows["offset"].to_pylist(), strict=True
        )
        at |= taken.ends
        parts += 1
    return found, parts


def numbers(reader):
    return psutil.Process(reader._process.pid)


def test_aborted_and_control_records_lie_within_the_ends(kafka, topic, reader):
    send(kafka, topic, 5, transaction=f"{topic}-a")
    send(kafka, topic, 3, transaction=f"{topic}-b", commit=False)
    send(kafka, topic, 4, partition=1)
    upto = ends(kafka, topic)
    assert upto == {0: 5 + 1 + 3 + 1, 1: 4}
    one = reader()
    one.begin(dict.fromkeys(upto, EARLIEST))
    assert sorted(take_all(one, upto)[0]) == [(0, n) for n in range(5)] + [(1, n) for n in range(4)]
    send(kafka, topic, 2, transaction=f"{topic}-c", commit=False)  # nothing but gaps from here on
    assert take_all(one, ends(kafka, topic)) == ([], 1)


def test_ranges_cut_what_was_read_ahead_where_they_end(kafka, topic, reader):
    send(kafka, topic, 3000)
    send(kafka, topic, 1000, partition=1)
    one = reader()
    one.begin({0: EARLIEST, 1: EARLIEST})
    found = []
    for upto in ({0: 7, 1: 999}, {0: 8, 1: 999}, {0: 2999, 1: 1000}, {0: 3000, 1: 1000}):
        found.append(one.take(upto, 64 * MIB, lambda: False))
        assert {**{0: 0, 1: 0}, **found[-1].ends}.items() <= {**upto}.items() or found[-1].ends
    addresses = [
        (p, o) for t in found
        for p, o in zip(t.rows["partition"].to_pylist(), t.rows["offset"].to_pylist(), strict=True)
    ]  # fmt: skip
    assert sorted(addresses) == [(0, n) for n in range(3000)] + [(1, n) for n in range(1000)]
    assert [t.rows.num_rows for t in found] == [7 + 999, 1, 2991 + 1, 1]


def test_bytes_bound_a_part_and_what_the_driver_holds(kafka, topic, reader):
    send(kafka, topic, 60, size=900_000)
    send(kafka, topic, 60, partition=1)
    one = reader(ahead=4 * MIB)
    one.begin({0: EARLIEST, 1: EARLIEST})
    time.sleep(2)
    child = numbers(one)
    addresses, parts = take_all(one, {0: 60, 1: 60}, most=6 * MIB)
    assert len(addresses) == len(set(addresses)) == 120
    assert parts >= 60 // 14
    assert child.memory_info().rss < 400 * MIB


def test_a_partition_that_fills_the_room_does_not_starve_the_other(kafka, topic, reader):
    send(kafka, topic, 3000, size=2000)
    send(kafka, topic, 50, partition=1)
    one = reader(ahead=MIB)
    one.begin({0: EARLIEST, 1: EARLIEST})
    time.sleep(1)
    assert sorted(take_all(one, {1: 50})[0]) == [(1, n) for n in range(50)]
    assert len(take_all(one, {0: 3000, 1: 50})[0]) == 3000


def test_killed_at_any_moment_it_goes_on_where_it_was(kafka, topic, reader):
    send(kafka, topic, 20_000, size=100)
    send(kafka, topic, 20_000, partition=1, size=100)
    one = reader()
    one.begin({0: EARLIEST, 1: EARLIEST})
    found = []
    for end in range(4000, 20_001, 4000):
        os.kill(one._process.pid, signal.SIGKILL)
        found += take_all(one, {0: end, 1: end})[0]
    assert len(found) == len(set(found)) == 40_000


def test_it_ends_when_the_driver_does(kafka, topic, reader):
    one = reader()
    one.begin({0: EARLIEST})
    child = numbers(one)
    one._process.stdin.close()
    assert one._process.wait(10) == 0
    assert not child.is_running()


def test_expired_offsets_are_a_fault_and_what_is_left_can_be_read(kafka, topic, reader):
    send(kafka, topic, 100)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(topic, 0): 40})
    admin.close()
    one = reader()
    one.begin({0: 10})
    with pytest.raises(ReaderFault):
        one.take({0: 100}, MIB, lambda: False)
    one.begin({0: 40})
    assert take_all(one, {0: 100})[0] == [(0, n) for n in range(40, 100)]


def test_a_compacted_topic_has_gaps(kafka, tmp_path, reader, topic):
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {
        "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "100",
    })])  # fmt: skip
    admin.close()
    producer = Producer({"bootstrap.servers": kafka})
    for n in range(300):
        producer.produce(topic, encode(sale(event_id=str(n)))[0], key=b"k%d" % (n % 3), partition=0)
        if n % 100 == 0:
            producer.flush(20)
            time.sleep(0.3)
    producer.flush(20)
    upto = {0: ends(kafka, topic)[0]}
    one = reader()
    one.begin({0: EARLIEST})
    assert upto == {0: 300}
    assert (0, 299) in take_all(one, upto)[0]


def test_a_broker_that_is_away_is_told_with_its_address(reader):
    one = reader(patience=1.5, servers="127.0.0.1:1")
    one.begin({0: 0})
    with pytest.raises(ServiceUnavailable, match=r"127[.]0[.]0[.]1:1"):
        one.take({0: 1}, MIB, lambda: False)


def test_a_stop_ends_the_wait(reader):
    one = reader(servers="127.0.0.1:1")
    one.begin({0: 0})
    assert one.take({0: 1}, MIB, lambda: True) is None
