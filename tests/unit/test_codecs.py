"""What other producers compress is read: kafka-python alone reads gzip only."""

import pyarrow as pa
import pytest
from kafka import codec
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

import lakehouse.ingest.topic  # noqa: F401  # what reads topics installs the codecs
from lakehouse.core.codecs import lz4, snappy, zstd
from tests.support.headers import Odd

DATA = [b"", b"x", b"record " * 50_000]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("name", "read"), [("lz4", lz4), ("zstd", zstd)])
def test_frames_are_read_one_after_the_other(data, name, read):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, name) as stream:
        stream.write(data)
    frame = sink.getvalue().to_pybytes()
    assert read(frame) == data


@pytest.mark.parametrize("data", DATA)
def test_a_block_of_snappy_is_read(data):
    assert snappy(pa.compress(data, codec="snappy", asbytes=True)) == data


def test_kafka_python_has_every_codec():
    assert codec.has_snappy()
    assert codec.has_lz4()
    assert codec.has_zstd()


def test_a_header_whose_name_is_not_utf_8_is_read_as_java_reads_it():
    batch = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 10**6)
    for offset in range(3):
        odd = [(Odd("x"), b"\xff"), ("none", None), ("", b"")] * (offset == 1)
        batch.append(offset, 1, b"k", b"v", [*odd, ("h", b"1")])
    found = [(r.offset, r.value, r.headers) for r in DefaultRecordBatch(bytes(batch.build()))]
    said = [("a\ufffd\ufffdz", b"\xff"), ("none", None), ("", b""), ("h", b"1")]
    assert found == [(0, b"v", [("h", b"1")]), (1, b"v", said), (2, b"v", [("h", b"1")])]
