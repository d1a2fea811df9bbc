"""The reader of one machine: every committed record of a range, once, whatever ends it."""

import os
import signal
import time

import pytest
from confluent_kafka import Producer
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.ingest.reader.process import EARLIEST, ReaderFault
from tests.conftest import encode, sale
from tests.live.reading import MIB, ends, numbers, send, take_all

pytestmark = pytest.mark.live


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
    assert one._process.wait(200) == 0
    assert not child.is_running()


def test_expired_offsets_are_a_fault_and_what_is_left_can_be_read(kafka, topic, reader, admin):
    send(kafka, topic, 100)
    admin.delete_records({TopicPartition(topic, 0): 40})
    one = reader()
    one.begin({0: 10})
    with pytest.raises(ReaderFault):
        one.take({0: 100}, MIB, lambda: False)
    one.begin({0: 40})
    assert take_all(one, {0: 100})[0] == [(0, n) for n in range(40, 100)]


def test_a_compacted_topic_has_gaps(kafka, topic, reader, admin):
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {
        "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "100",
    })])  # fmt: skip
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
