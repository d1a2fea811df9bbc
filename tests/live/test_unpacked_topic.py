"""Batches that unpack to more than any memory: all that they hold lands, in little memory."""

import time

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from lakehouse.ingest.reader.process import EARLIEST
from tests.conftest import encode, long, sale
from tests.live.reading import MIB, send, take_all
from tests.support.record_batches import Repeated, batch, produce

pytestmark = pytest.mark.live
MOST = 2_500
"""MB of the reader: a gigabyte unpacked by the C client, and as much in Python."""


def large(name, size):
    (head,) = encode(sale(event_id=name, note=""))
    return head[:-2] + b"x" * size + head[-2:]


BOMBS = {
    "one record": lambda: ([[(b"k", Repeated(b"0", 1200 * MIB), [])]], "zstd"),
    "many records": lambda: ([[(None, large(f"b{n}", MIB), []) for n in range(1100)]], "zstd"),
    "many batches": lambda: ([[(None, Repeated(b"0", 500 * MIB), [])]] * 6, "zstd"),
    "gzip": lambda: ([[(None, Repeated(b"0", 1200 * MIB), [])]], "gzip"),
}
"""What makes each: no worker holds them but in their test."""


# another of gzip is in test_bombs
@pytest.mark.parametrize("kind", [*(kind for kind in BOMBS if kind != "gzip"), *long("gzip")])
def test_what_unpacks_to_more_than_any_memory_lands(kind, kafka, topic, reader, admin, peak):
    admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "20000000"})]
    )
    batches, codec = BOMBS[kind]()
    send(kafka, topic, 5)
    for records in batches:
        produce(kafka, topic, batch(records, codec, now=int(time.time() * 1000)))
    send(kafka, topic, 5)
    send(kafka, topic, 5, partition=1)
    count = 10 + sum(map(len, batches))
    one = reader()
    one.begin({0: EARLIEST, 1: EARLIEST})
    began = time.monotonic()
    found, parts = take_all(one, {0: count, 1: 5})
    print(f"{kind}: {time.monotonic() - began:.0f} s, {parts} parts, {peak():,} MB")
    assert sorted(found) == [(0, n) for n in range(count)] + [(1, n) for n in range(5)]
    assert peak() < MOST
    send(kafka, topic, 3)
    assert take_all(one, {0: count + 3})[0] == [(0, count + n) for n in range(3)]
