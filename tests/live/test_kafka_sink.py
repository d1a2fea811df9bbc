"""Bronze's rows in a real enriched topic: each once for a reader of committed records."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from deltalake import DeltaTable
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from structlog.testing import capture_logs

from lakehouse.audit.addresses import erased_view
from lakehouse.audit.kafka_sink import compare_kafka
from lakehouse.audit.pins import Snapshots, engine
from lakehouse.core.errors import LakehouseError, ServiceAway, ServiceUnavailable, TableLocked
from lakehouse.core.failpoint import Step
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.operations.erase import erase
from lakehouse.runtime.sinking import sinking
from lakehouse.sinks import enriched_topic
from lakehouse.sinks.kafka import KafkaWriter
from lakehouse.sinks.kafka_records import last_marker, marker_topic, messages
from producers.sending import make_producer
from tests.conftest import NOW, decoded, encode, sale, settings_at
from tests.live.conftest import ROOT
from tests.support.engine import connected
from tests.support.lake import Lake
from tests.support.sinks import named

pytestmark = pytest.mark.live


@pytest.fixture
def lake(settings, kafka, tmp_path):
    """A lake of sales whose sink fills a topic of the test's own."""
    made = Lake(settings.with_kafka(kafka))
    made.sink = named(f"enriched-{tmp_path.name}")
    return made


def land(lake, *events):
    first = getattr(lake, "next", 0)
    lake.next = first + len(events)
    lake.land(encode(*events), first)


def until(holds):
    deadline = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def some(first, count, **changes):
    return [
        sale(event_id=f"e{n}", client_id=f"c{n % 7}", **changes)
        for n in range(first, first + count)
    ]


def writer(lake):
    return KafkaWriter(lake.sink, lake.settings, connected(lake.settings))


def sent(lake):
    """What a reader of committed records finds."""
    return [one for batch in messages(lake.settings.kafka, lake.sink.topic) for one in batch]


def audited(lake):
    with engine(lake.settings) as connection:
        snapshots = Snapshots(lake.settings.lake.root, connection)
        bronze = snapshots.pin("bronze", "bronze.sales")
        is_there = snapshots.exists("erased.sales")
        erased_view(connection, snapshots.pin("ledger", "erased.sales") if is_there else None)
        found = compare_kafka(snapshots, lake.sink, lake.settings, bronze)
    return found.doubt, found.fault, found.differing, found.first, found.behind


def offsets(lake):
    return Counter(json.loads(one.value())["offset"] for one in sent(lake))


def test_each_row_is_sent_once_with_its_address_and_what_is_declared(lake):
    sink = writer(lake)
    odd = sale(event_id="odd", client_id=None, product_name='"Ω"\n\\', unit_price=12345678.9012)
    land(lake, odd, *some(0, 30), sale(event_id="e1"))  # the last one is a copy
    sink.catch_up()
    land(lake, *some(30, 12_000))
    sink.catch_up()
    sink.catch_up()
    assert offsets(lake) == Counter({n: 1 for n in range(12_032) if n != 31})
    first = next(one for one in sent(lake) if b'"event_id":"odd"' in one.value())
    value = json.loads(first.value(), parse_float=Decimal)
    assert (first.key(), value["client_id"]) == (None, None)
    assert value["product_name"] == '"Ω"\n\\'
    assert value["unit_price"] == Decimal("12345678.9012")
    assert value["total"] == 2 * Decimal("12345678.9012")
    assert value["event_time"] == "2026-11-20T11:00:00.000000Z"
    assert value["processing_time"].endswith("Z")
    assert (value["topic"], value["partition"], value["offset"]) == ("sales", 0, 0)
    assert {one.key() for one in sent(lake) if one is not first} >= {b"c0", b"c6"}
    assert (
        last_marker(lake.settings.kafka, lake.sink.topic, lake.sink.name).applied
        == sink.applied["topic"]
    )

    # a second writer of this lake fences the first, which ends with an error; nothing is sent twice
    zombie, sink = sink, writer(lake)
    sink.catch_up()
    land(lake, *some(20_000, 10))
    sink.catch_up()
    with pytest.raises(TableLocked, match="another process writes it"):
        zombie.catch_up()
    zombie.close()  # nor does it take the topic back once it connects again
    with pytest.raises(TableLocked, match="has fenced this one"):
        zombie.catch_up()
    assert set(offsets(lake).values()) == {1}
    sink.close()
    assert audited(lake) == ("", "", 0, (), 0)
    with make_producer(lake.settings) as stranger:  # sends one of the rows again, altered
        stranger.send(lake.sink.topic, first.value().replace(b"odd", b"even"))
        other = json.dumps(value | {"offset": 10**6}, default=str).encode()  # of no version yet
        stranger.send(lake.sink.topic, other, headers=[("lakehouse", b"x/1000000")])
    _, _, differing, found, _ = audited(lake)
    assert (differing, found[0]["key"]["offset"], found[0]["held"]) == (2, 0, 1)
    lake.settings = lake.settings.with_kafka("127.0.0.1:9")
    assert "Kafka at 127.0.0.1:9: no answer" in audited(lake)[0]


def test_two_lakes_that_begin_at_one_moment_do_not_both_fill_a_topic(lake, tmp_path):
    other = Lake(settings_at(tmp_path / "other").with_kafka(lake.settings.kafka.bootstrap_servers))
    other.sink = lake.sink
    land(lake, *some(0, 5))
    land(other, *some(0, 7))
    first, second = writer(lake), writer(other)
    rows = first._rows.of

    def meanwhile(*given):
        yield from rows(*given)
        second.catch_up()

    first._rows.of = meanwhile
    with pytest.raises(TableLocked, match="another process writes it"):
        first.catch_up()
    assert len(sent(lake)) == 7
    with pytest.raises(LakehouseError, match="7 records that this lake did not send"):
        writer(lake).catch_up()
    land(other, *some(7, 1))
    second.catch_up()  # who was refused has not fenced it
    assert len(sent(lake)) == 8
    second.close()


def test_a_topic_whose_partitions_have_no_leader_yet_is_asked_again(lake, admin):
    """Right after it was made a broker says so, for a moment; the topic is there all the same."""
    for number in range(20):
        topic = f"{lake.sink.topic}-{number}"
        admin.create_topics([NewTopic(topic, 30, 1)])
        assert list(messages(lake.settings.kafka, topic)) == []


def test_a_topic_that_takes_no_more_is_waited_for_where_it_did(lake, admin):
    def limit(size):
        most = {"max.message.bytes": str(size)}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, lake.sink.topic, most)])

    land(lake, *some(0, 5))
    with sinking([lake.sink], lake.settings, threading.Event()) as beside, capture_logs() as logs:
        until(lambda: len(sent(lake)) == 5)
        limit(150)
        land(lake, *some(5, 5))
        until(lambda: any("size too large" in str(one.get("reason")) for one in logs))
        beside.check()
        limit(1_000_000)
        beside.finish(must=True)
    assert len(sent(lake)) == 10
    limit(150)
    land(lake, *some(10, 5))
    with (
        pytest.raises(ServiceUnavailable, match="size too large"),
        sinking([lake.sink], lake.settings, threading.Event()) as beside,
    ):
        beside.finish(must=True)  # it was never let in


@pytest.mark.parametrize("step", [Step.KAFKA_SENT, Step.KAFKA_COMMITTED])
def test_killed_in_a_transaction_it_goes_on_and_nothing_is_twice(lake, step, tmp_path):
    land(lake, *some(0, 20))
    writer(lake).catch_up()
    land(lake, *some(20, 20))
    code = (
        "from tests.live.test_kafka_sink import *\n"
        "from types import SimpleNamespace as N; from pathlib import Path\n"
        f"settings = settings_at(Path({str(tmp_path / 'lake')!r}))"
        f".with_kafka({lake.settings.kafka.bootstrap_servers!r})\n"
        f"writer(N(settings=settings, sink=named({lake.sink.topic!r}))).catch_up()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, timeout=200, check=False,
        env={**os.environ, "LAKEHOUSE_FAILPOINT": f"{step}:1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    land(lake, *some(40, 20))
    writer(lake).catch_up()
    assert offsets(lake) == Counter(range(60))


def test_what_cannot_be_followed_is_completed_from_the_topic_itself(lake, kafka, admin, tmp_path):
    land(lake, *some(0, 20))
    writer(lake).catch_up()
    lake.bronze.bronze.delete('"offset" < 5', {})
    land(lake, *some(20, 20))
    writer(lake).catch_up()
    assert offsets(lake) == Counter(range(40))
    other = Lake(settings_at(tmp_path / "other").with_kafka(kafka))
    other.sink = lake.sink
    land(other, *some(0, 3))
    assert writer(lake).refill() == 0
    admin.delete_topics([lake.sink.topic])  # by hand; its markers say that it has all
    until(lambda: lake.sink.topic not in admin.list_topics())
    writer(lake).catch_up()
    assert offsets(lake) == Counter(range(5, 40))  # what was erased is gone from bronze
    with pytest.raises(LakehouseError, match="35 records that this lake did not send"):
        writer(other).catch_up()
    with make_producer(lake.settings) as stranger:
        stranger.send(marker_topic(lake.sink.topic), b"no marker", lake.sink.name.encode())
        stranger.send(lake.sink.topic, b"{no JSON")
    land(lake, *some(40, 5))
    writer(lake).catch_up()
    with pytest.raises(LakehouseError, match="has 1 records that this lake did not send"):
        writer(lake).refill()
    lake.settings = lake.settings.with_kafka("127.0.0.1:9")
    with pytest.raises(ServiceAway):
        writer(lake).catch_up()
    assert len(sent(other)) == 41


def test_a_topic_that_is_rebuilt_while_the_sink_runs_is_filled_again(lake, admin, monkeypatch):
    monkeypatch.setattr(enriched_topic, "_LOOK", 0)
    sink = writer(lake)
    land(lake, *some(0, 20))
    sink.catch_up()
    admin.delete_topics([lake.sink.topic])
    until(lambda: lake.sink.topic not in admin.list_topics())

    def holds(count):
        """Whether the topic does, once the sink has looked: a broker shows a commit later."""
        sink.catch_up()
        return offsets(lake) == Counter(range(count))

    until(lambda: holds(20))  # nothing new
    land(lake, *some(20, 5))
    until(lambda: holds(25))
    assert audited(lake)[:3] == ("", "", 0)
    sink.close()


def test_what_lands_again_after_a_restore_was_sent_already(lake):
    sink = writer(lake)
    land(lake, *some(0, 10))
    version = lake.bronze.bronze.version
    land(lake, *some(10, 10))
    sink.catch_up()
    uri = lake.bronze.bronze.uri
    DeltaTable(uri).restore(version)
    lake.restart()
    rows = decoded(encode(*some(10, 12)), first=10)
    ArrowWriter(lake.bronze).publish(rows, {0: 22}, NOW + timedelta(hours=1))
    sink.catch_up()
    assert offsets(lake) == Counter(range(22))
    assert audited(lake) == ("", "", 0, (), 0)
    old = next(one.value() for one in sent(lake) if b'"offset":15' in one.value())
    lake.bronze.bronze.delete('"offset" = 15', {})
    again = decoded(encode(*some(15, 1)), first=15)
    ArrowWriter(lake.bronze).publish(again, {0: 22}, NOW - timedelta(hours=1))
    sink.catch_up()
    assert audited(lake)[2] == 1, old  # nothing is sent before it landed


def test_who_was_erased_stays_in_the_topic_and_is_no_fault(lake):
    sink = writer(lake)
    land(lake, *some(0, 20))
    sink.catch_up()
    erase("c1", "sales", lake.settings, NOW)
    lake.restart()
    assert audited(lake)[0]  # until the sink runs nobody knows what it had
    land(lake, *some(20, 5))
    sink.catch_up()
    assert offsets(lake) == Counter(range(25))
    assert audited(lake) == ("", "", 0, (), 0)
    lake.bronze.bronze.delete('"offset" = 2', {})  # lost, not erased
    land(lake, *some(25, 5))
    sink.catch_up()
    assert audited(lake)[2] == 1


def test_what_retention_removed_is_not_sent_again(lake, admin):
    sink = writer(lake)
    land(lake, *some(0, 300))
    sink.catch_up()
    whole = admin.describe_topics([lake.sink.topic])[0]["partitions"]
    places = [TopicPartition(lake.sink.topic, one["partition_index"]) for one in whole]
    admin.delete_records(dict.fromkeys(places, -1))
    assert sent(lake) == []
    assert sink.refill() == 0
    assert (sent(lake), audited(lake)[:3]) == ([], ("", "", 0))
    land(lake, *some(300, 40))
    sink.catch_up()
    assert (len(sent(lake)), audited(lake)[:3]) == (40, ("", "", 0))

    admin.delete_topics([marker_topic(lake.sink.topic)])
    sink.close()
    until(lambda: last_marker(lake.settings.kafka, lake.sink.topic, lake.sink.name) is None)
    with pytest.raises(LakehouseError, match="nobody can tell which rows it had"):
        writer(lake).catch_up()
