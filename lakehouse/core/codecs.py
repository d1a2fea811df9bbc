"""Records compressed by LZ4, Snappy or Zstandard, read by kafka-python through Arrow.

kafka-python reads gzip alone unless libraries are there that we do not need for
anything else; Arrow brings the codecs. Producers of others choose the compression.
"""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa
from kafka import codec
from kafka.record import default_records


def install() -> None:
    """Let kafka-python read what it lacks a library for; harmless twice."""
    if not codec.has_snappy():
        codec.snappy = SimpleNamespace(decompress=snappy)
    if not codec.has_lz4():
        codec.lz4 = SimpleNamespace(decompress=lz4)
        default_records.lz4_decode = lz4
    if not codec.has_zstd():
        codec.zstd = SimpleNamespace()
        default_records.zstd_decode = zstd


def lz4(data: bytes) -> bytes:
    """What LZ4 frames hold."""
    return _frames(data, "lz4")


def zstd(data: bytes) -> bytes:
    """What Zstandard frames hold."""
    return _frames(data, "zstd")


def _frames(data: bytes, name: str) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(data), name) as stream:
        return bytes(stream.read())


def snappy(data: bytes) -> bytes:
    """What one block of Snappy holds; it begins with its length, seven bits a byte."""
    size = shift = 0
    for byte in data:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return bytes(pa.decompress(data, decompressed_size=size, codec="snappy", asbytes=True))
