"""Compressed batches are read in memory that does not follow what they unpack to."""

import tracemalloc
import zlib

import pyarrow as pa
import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

import lakehouse.ingest.topic  # noqa: F401  # what reads topics installs what unpacks
from lakehouse.ingest import unpacked
from lakehouse.ingest.left_out import LeftOut, sha256, size
from tests.support.headers import Odd
from tests.support.record_batches import CODES, MIB, Repeated, batch, whole

HEADERS = [("h", b"v"), ("ö", b""), ("", b"x" * 300_000)]
RECORDS = [
    (b"k", b"v1", HEADERS), (None, Repeated(b"0", 5 * MIB), []), (b"", b"", [("n", None)]),
    (b"k", None, [(Odd("x"), b"1")]), (b"k" * (2 * MIB), Repeated(b"x", 2 * MIB), HEADERS),
    *[(b"%d" % n, b"v" * 1000, []) for n in range(3000)],
]  # fmt: skip


def part(data, first=0):
    records = MemoryRecords(data)
    return Fetcher.PartitionRecords(first, TopicPartition("t", 0), records)


def read(data, first=0):
    one, found = part(data, first), []
    while one:
        found += one.take(1000)
    return found


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(unpacked._Batch, "most", MIB)


def whole_of(value):
    return value.byte * value.size if isinstance(value, Repeated) else value


def headers_of(found):
    return [("a\ufffd\ufffdz" if name == "x" else name, value) for name, value in found]


@pytest.mark.parametrize("codec", CODES)
def test_what_is_compressed_is_read_as_it_was_sent(codec):
    found = read(batch(RECORDS, codec, base=7))
    assert [r.offset for r in found] == list(range(7, 7 + len(RECORDS)))
    told = [(r.key, r.value, r.headers) for r in found]
    assert told == [(k, whole_of(v), headers_of(h)) for k, v, h in RECORDS]
    assert {unpacked.batch_end(r) for r in found} == {7 + len(RECORDS)}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("codec", CODES)
def test_of_what_is_too_large_size_and_hash_are_those_of_its_bytes(codec):
    found = read(batch(RECORDS, codec))
    large = {n: r for n, r in enumerate(found) if isinstance(r.value, LeftOut)}
    assert {*large} == {1, 4}
    for n, record in large.items():
        key, value, headers = RECORDS[n]
        sent = (key, whole_of(value), headers)
        assert (record.value.size, record.value.sha256) == (size(*sent), sha256(*sent))
        assert (record.key, record.value, record.headers) == (None, b"", [])
    assert found[5].value == b"v" * 1000
    assert {r.timestamp for r in found} == {found[0].timestamp}


@pytest.mark.usefixtures("small")
def test_headers_alone_may_be_too_large():
    headers = [("ö" * 400_000, b"\xff" * 300_000), (Odd("x"), None), ("", b"")]
    [record] = read(batch([(None, None, headers)], "zstd"))
    sent = (None, None, headers_of(headers))
    assert (record.value.size, record.value.sha256) == (size(*sent), sha256(*sent))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("values", [[Repeated(b"0", 600 * MIB)], [Repeated(b"0", MIB - 99)] * 600])
def test_memory_follows_one_record(values):
    data = batch([(None, value, []) for value in values], "zstd")
    assert len(data) < 100_000
    one = part(data)
    tracemalloc.start()
    count = 0
    while one:
        count += len(one.take(5000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == len(values)
    assert peak < 24 * MIB


def test_one_poll_gives_no_more_than_is_asked_at_once():
    one = part(batch([(None, Repeated(b"0", MIB), [])] * 30, "zstd"))
    assert len(one.take(5000)) == 9
    assert len(one.take(2)) == 2


@pytest.mark.parametrize("codec", CODES)
@pytest.mark.parametrize("cut", [0, 10, 200])
def test_what_cannot_be_unpacked_is_an_address_and_a_hash(codec, cut):
    data = batch([(None, b"%d" % n * 900, []) for n in range(2000)], codec)
    packed = data[61:]
    broken = packed[:cut] + b"\xff\x00\xff" * 40
    found = read(whole(broken, 2000, CODES[codec], base=5))
    assert [r.offset for r in found] == list(range(5, 2005))
    lost = [r for r in found if isinstance(r.value, LeftOut)]
    assert lost
    assert {(r.value.size, r.value.sha256) for r in lost} == {(0, unpacked_hash(broken))}


def unpacked_hash(data):
    import hashlib  # noqa: PLC0415

    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("said", [b"\x80" * 20, b"\x01", b"\xff\xff\xff\xff\x0f", b"\x02\x00", b""])
def test_records_that_lie_of_their_length_are_addresses(said):
    packed = pa.compress(said + b"\0" * 3, codec="gzip", asbytes=True)
    found = read(whole(packed, 3, CODES["gzip"]))
    assert [(r.offset, r.value.size) for r in found] == [(n, 0) for n in range(3)]


def message_set(values, codec, magic, first=0):
    """A compressed set, as Kafka had them before 2017."""
    builder = LegacyRecordBatchBuilder(magic, CODES[codec], 2**30)
    for number, value in enumerate(values):
        offset = number if magic else first + number
        assert builder.append(offset, 7 if magic else None, None, value)
    data = bytearray(builder.build())
    data[:8] = (first + len(values) - 1).to_bytes(8, "big")  # as a broker numbers it
    return bytes(data)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", ["gzip"])
def test_a_set_of_the_old_formats_is_read_as_it_was_sent(codec, magic):
    found = read(message_set([b"a", None, b"c" * 1000], codec, magic, first=5), 5)
    assert [(r.offset, r.value) for r in found] == [(5, b"a"), (6, None), (7, b"c" * 1000)]
    assert {unpacked.batch_end(r) for r in found} == {8}


@pytest.mark.parametrize("magic", [0, 1])
def test_a_set_that_unpacks_to_too_much_is_one_record_that_is_left_out(magic, monkeypatch):
    monkeypatch.setattr(unpacked, "_SET", 4 * MIB)
    one = part(message_set([b"0" * (40 * MIB)], "gzip", magic), 0)
    tracemalloc.start()
    [found] = one.take(10)
    assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    tracemalloc.stop()
    assert isinstance(found.value, LeftOut)
    assert (found.offset, found.value.size, len(found.value.sha256)) == (0, 0, 64)
    assert unpacked.batch_end(found) == 1


@pytest.mark.parametrize("magic", [0, 1])
def test_a_set_that_cannot_be_unpacked_stops_nobody(magic):
    data = bytearray(message_set([b"a", b"b"], "gzip", magic))
    data[-12:] = b"\xff" * 12
    data[12:16] = zlib.crc32(data[16:]).to_bytes(4, "big")
    [found] = read(bytes(data))
    assert isinstance(found.value, LeftOut)
    assert found.offset == 1
