"""Records at the limits of what Kafka takes come through the reader as Kafka has them."""

import pyarrow as pa
import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from lakehouse.ingest.kafka_time import FIRST, LAST
from lakehouse.ingest.reader.process import EARLIEST
from tests.live.reading import MIB, numbers

pytestmark = pytest.mark.live


def configure(admin, topic, **options):
    told = {name.replace("_", "."): value for name, value in options.items()}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, told)])


def test_empty_huge_and_oddly_timed_records_come_as_kafka_has_them(kafka, topic, reader, admin):
    huge, longest = 30 * MIB, str(2**63 - 1)
    configure(
        admin, topic, max_message_bytes=str(40 * MIB), message_timestamp_type="CreateTime",
        message_timestamp_before_max_ms=longest, message_timestamp_after_max_ms=longest,
    )  # fmt: skip
    sent = [
        (b"", None, 1), (b"", b"", 0), (b"k", None, 2**62), (None, b"", 5), (None, b"[", 10**15),
        (None, b"x" * huge, 6), (None, b"]", 7),
    ]  # fmt: skip
    with KafkaProducer(bootstrap_servers=kafka, max_request_size=2**27) as producer:
        for key, value, time_ms in sent:
            producer.send(
                topic, value, key=key, partition=0, timestamp_ms=time_ms,
                headers=[("h", b"")],
            ).get(200)  # fmt: skip
    one = reader(ahead=MIB)
    one.begin({0: EARLIEST, 1: EARLIEST})
    rows = one.take({0: len(sent), 1: 0}, 64 * MIB, lambda: False).rows.sort_by("offset")
    assert rows["key"].to_pylist() == [key for key, _, _ in sent]
    assert rows["value"].to_pylist() == [value for _, value, _ in sent]
    assert {*map(str, rows["headers"].to_pylist())} == {"[{'key': 'h', 'value': b''}]"}
    times = rows["kafka_time"].cast(pa.int64()).to_pylist()
    first, last = (pa.scalar(t, rows["kafka_time"].type).cast(pa.int64()).as_py()
                   for t in (FIRST, LAST))  # fmt: skip
    assert times == [min(max(t * 1000, first), last) for _, _, t in sent]
    assert numbers(one).memory_info().rss < 600 * MIB
