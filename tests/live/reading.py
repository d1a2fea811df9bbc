"""Records sent to a topic of the reader's tests, and taken from it."""

import psutil
from confluent_kafka import Producer

from lakehouse.ingest.topic import TopicReader
from tests.conftest import encode, sale
from tests.live.conftest import settings_of

MIB = 1024 * 1024


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
