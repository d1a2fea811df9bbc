"""The audit against a real broker: transactions, expiry, a lost row; the exit codes."""

import json
import os
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable
from kafka import KafkaProducer, TopicPartition

from lakehouse.audit.declared import recomputes_of
from lakehouse.audit.extent import Content
from lakehouse.audit.tellers import Tellers
from lakehouse.audit.told import Told
from lakehouse.audit.topic import Gap, judge, read_topic, records
from lakehouse.core.errors import LakehouseError, ServiceUnavailable
from lakehouse.explorer.fetched import fetched
from lakehouse.explorer.record import hexdump
from lakehouse.products.registry import load_settings
from lakehouse.storage.duck import connect
from tests.conftest import encode, sale
from tests.live.conftest import make_topic, proof, sales_from, settings_of, verb

pytestmark = pytest.mark.live


def produce(kafka, topic, values, *, end):
    """One transaction in partition 0, committed or aborted; a marker follows its records."""
    producer = KafkaProducer(
        bootstrap_servers=kafka, transactional_id=f"{topic}-{os.getpid()}", acks="all"
    )
    producer.init_transactions()
    producer.begin_transaction()
    for value in values:
        producer.send(topic, value, partition=0)
    producer.flush()
    getattr(producer, f"{end}_transaction")()
    producer.close()


def events(first, count):
    now = {"event_time": "2026-01-05T10:00:00Z"}
    return encode(*[sale(event_id=f"e{n}", **now) for n in range(first, first + count)])


@pytest.fixture(scope="module")
def topic(kafka):
    return f"audited-{os.getpid()}"


@pytest.fixture(scope="module")
def environment(kafka, topic):
    return sales_from(kafka, topic, LAKEHOUSE_SALES_PARTITIONS="1")


@pytest.fixture(scope="module")
def root(kafka, topic, environment, land, tmp_path_factory):
    """A lake landed from two committed transactions, with an aborted one between them."""
    root = tmp_path_factory.mktemp("audited") / "lake"
    make_topic(environment)
    produce(kafka, topic, [*events(0, 40), b"{"], end="commit")  # 0 to 40, marker 41
    produce(kafka, topic, events(100, 10), end="abort")  # 42 to 51, marker 52
    produce(kafka, topic, events(40, 20), end="commit")  # 53 to 72, marker 73
    land(["sales.bronze", "sales.silver"], environment, root)
    return root


def audited(root, environment, *words, code):
    done = verb("audit", *words, "--root", root, "--json", check=False, **environment)
    assert done.returncode == code, done.stderr[-2000:] + done.stdout[-2000:]
    return json.loads(done.stdout)["sales"]


def test_gaps_are_judged_by_what_kafka_has(kafka, topic, root):
    settings = load_settings().with_kafka(kafka)
    assert read_topic(settings.kafka, topic).ranges == {0: (0, 74)}
    assert read_topic(settings.kafka, "no-such-topic") is None
    gaps = [Gap(0, 3, 5), Gap(0, 41, 42), Gap(0, 50, 54), Gap(0, 73, 74)]
    found = list(judge(settings.kafka, topic)(gaps))
    assert [(j.committed, j.aborted) for j in found] == [(2, 0), (0, 0), (1, 2), (0, 0)]
    assert found[0].first_committed == (3, 4)
    assert found[2].first_committed == (53,)


@pytest.fixture
def tellers(kafka, topic, root):
    settings = load_settings().with_kafka(kafka)
    read = records(settings.kafka, topic)
    with Tellers(settings, recomputes_of("sales").witness, read) as tellers:
        yield tellers, settings, read


def test_several_processes_tell_what_one_does(tellers):
    tellers, settings, read = tellers
    gaps = [Gap(0, 0, 30), Gap(0, 31, 74)]
    with connect(settings) as connection:
        told = Told(connection, recomputes_of("sales").witness)
        alone = told.hashes(read(gaps)).sort_by("offset")
    assert tellers.take(gaps).sort_by("offset") == alone
    parts = [[Gap(0, n, min(n + 10, 74))] for n in range(0, 74, 10)]  # more than are told ahead
    told = [*tellers.ahead(parts)]
    assert [gaps for gaps, _ in told] == parts
    assert pa.concat_tables(rows for _, rows in told).num_rows == 61
    assert alone.num_rows == 60
    assert alone["said"].null_count == 1  # the broken one


def test_a_process_of_the_audit_that_dies_ends_it_in_words(tellers):
    tellers, *_ = tellers
    tellers.take([Gap(0, 0, 2)])
    tellers._all[0].kill()
    with pytest.raises(LakehouseError, match="a process of it ended with -9"):
        [*tellers.ahead([[Gap(0, 0, 2)]])]


def test_a_process_of_the_audit_says_that_kafka_is_away(tellers, kafka, topic):
    _, settings, _ = tellers
    away = records(settings.with_kafka("127.0.0.1:1").kafka, topic)
    with (
        Tellers(settings, recomputes_of("sales").witness, away) as unreachable,
        pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1"),
    ):
        unreachable.take([Gap(0, 0, 2)])


def test_aborted_records_and_markers_are_no_loss(root, environment):
    found = audited(root, environment, "--keep", code=0)
    assert found["verdict"] == "PROVEN"
    part = found["account"]["partitions"][0]
    assert (part["bronze"], part["quarantine"], part["end"]) == (60, 1, part["kafka_end"])
    assert (part["missing"], part["aborted"], part["markers"]) == (0, 10, 3)
    kept = DeltaTable(str(root / "audit" / "sales")).to_pyarrow_table().to_pylist()
    assert [(row["verdict"], row["bronze"]) for row in kept] == [("PROVEN", 60)]


def test_the_topic_asked_is_the_one_that_bronze_holds(root, environment):
    other = {**environment, "LAKEHOUSE_SALES_TOPIC": "no-such-topic"}
    assert audited(root, other, code=0)["verdict"] == "PROVEN"


def test_a_lost_row_is_not_proven_and_then_expires(admin, topic, root, environment):
    DeltaTable(str(root / "bronze" / "sales")).delete('"offset" = 17')
    found = audited(root, environment, "sales", code=1)
    assert found["account"]["missing"] == [{"partition": 0, "offset": 17}]
    shown = verb("audit", "--root", root, check=False, **environment)
    assert shown.stdout.startswith("NOT PROVEN: 60 of 61 records")
    admin.delete_records({TopicPartition(topic, 0): 30})
    found = audited(root, environment, code=1)  # its fingerprint lacks, whatever Kafka has
    part = found["account"]["partitions"][0]
    assert (part["beginning"], part["expired"], part["kept"]) == (30, 1, 29)
    gone = fetched(settings_of(environment).kafka, {"topic": topic, "partition": 0, "offset": 29})
    assert (gone.raw, "have expired" in gone.told) == ({}, True)
    assert "have expired: the partition begins at offset 30" in traced(root, environment, 29)


def traced(root, environment, offset):
    """What ``lakehouse trace`` prints of one record of bronze."""
    words = ["trace", "bronze.sales", "partition=0", f"offset={offset}", "--root", root]
    return (done := verb(*words, **environment)).stdout + done.stderr


def assert_bytes_are_fetched(settings, topic):
    """A valid record's bytes come from the broker by its address, and nothing else's."""

    def at(offset, **more):
        return fetched(
            settings.kafka, {"topic": topic, "partition": 0, "offset": offset, **more}
        )  # fmt: skip

    assert at(0).raw["value"] == events(0, 30)[0]
    assert at(44).raw == {
        "key": b"k\xff", "value": events(40, 5)[0], "header a": b"\x00", "header b": b"",
    }  # fmt: skip
    assert at(64).raw["value"] == events(60, 5)[4]
    for offset, told in ((35, "no committed record"), (999, "ends before")):
        assert (at(offset).raw, told in at(offset).told) == ({}, True)
    another = at(0, kafka_time=datetime(2020, 1, 1, tzinfo=UTC))
    assert (another.raw, "recreated" in another.told) == ({}, True)
    there = fetched(settings.kafka, {"topic": "none-such", "partition": 0, "offset": 0})
    assert (there.raw, "no partition 0" in there.told) == ({}, True)


def test_content_of_real_records_is_compared_and_a_changed_price_is_named(
    kafka, environment, land, tmp_path, monkeypatch
):
    """Aborted transactions, compression, an empty value and headers come from the broker itself."""
    topic = f"content-{os.getpid()}"
    environment = {**environment, "LAKEHOUSE_SALES_TOPIC": topic}
    root = tmp_path / "lake"
    make_topic(environment)
    produce(kafka, topic, [*events(0, 30), b"{", b""], end="commit")  # 0 to 31, marker 32
    produce(kafka, topic, events(100, 10), end="abort")  # 33 to 42, marker 43
    sender = KafkaProducer(bootstrap_servers=kafka, compression_type="gzip")
    for value in [*events(40, 5), b"[1]"]:
        sender.send(topic, value, key=b"k\xff", headers=[("a", b"\x00"), ("b", b"")])
    sender.close()  # 44 to 49
    for number, compression in enumerate(["lz4", "snappy", "zstd"]):  # 50 to 64
        other = Producer({"bootstrap.servers": kafka, "compression.type": compression})
        for value in events(50 + 5 * number, 5):
            other.produce(topic, value, partition=0)
        other.flush()
    land(["sales.bronze", "sales.silver"], environment, root)
    found = audited(root, environment, "--content", "all", "--caught-up", code=0)
    settings = settings_of(environment).with_root(root)
    for headline in (found["headline"], proof(settings).headline):
        assert headline == "PROVEN: 53 of 53 records, content of all"
    assert_bytes_are_fetched(settings, topic)
    value = [*hexdump(events(40, 5)[0])]
    assert len(value) > 3
    for line in ["6b ff", "HEADER A", *value]:
        assert line.rstrip() in traced(root, environment, 44), line
    sender = KafkaProducer(bootstrap_servers=kafka)
    offset = sender.send(topic, b"it waits", partition=0).get().offset
    sender.close()
    waits = traced(root, environment, offset)
    assert "no table has such a record; as Kafka has them" in waits
    assert "it waits" in waits
    assert "bronze.sales has no such record, and quarantine.sales has it" in traced(
        root, environment, 30
    )
    away = traced(root, {**environment, "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}, 44)
    assert "its bytes are in Kafka alone: " in away
    assert "127.0.0.1:9" in away
    DeltaTable(str(root / "bronze" / "sales")).update(
        {"unit_price": "9.99"}, predicate='"offset" = 46'
    )
    found = proof(settings).as_dict()
    first = next(c for c in found["checks"] if c["name"] == "content against Kafka")["first"]
    assert [(row["offset"], row["column"]) for row in first] == [(46, "unit_price")]
    monkeypatch.setattr("lakehouse.audit.content.MANY", 1)  # as many records are: by processes
    monkeypatch.setattr("lakehouse.audit.sample.SLICE", 20)
    by_processes = proof(settings, Content.ALL).as_dict()
    assert by_processes["checks"] == found["checks"]
    assert by_processes["faults"] == found["faults"]
    table = DeltaTable(str(root / "bronze" / "sales"))
    table.update({"offset": "40"}, predicate='"offset" = 46')
    faults = proof(settings).faults
    assert "content: 1 rows are at offsets where Kafka has no committed record" in faults
