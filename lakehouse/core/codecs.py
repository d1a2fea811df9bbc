"""Records that kafka-python alone cannot read: compressed ones, and odd names of headers.

kafka-python reads gzip alone unless libraries are there that we do not need for
anything else; Arrow brings the codecs. Producers of others choose the compression.
A header's name that is not UTF-8 is read as Java reads it, with U+FFFD for bytes that are not:
kafka-python gives up at such a record, and never comes past it.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from kafka import codec
from kafka.record import default_records

_XERIAL = b"\x82SNAPPY\0"
_SNAPPIEST = 64
"""No block of Snappy unpacks to so many times its size."""


def install() -> None:
    """Let kafka-python read codecs whose libraries are not installed; may be called twice."""
    if not codec.has_snappy():
        codec.snappy = SimpleNamespace(decompress=snappy)
    if not codec.has_lz4():
        codec.lz4 = SimpleNamespace(decompress=lz4)
        default_records.lz4_decode = lz4
    if not codec.has_zstd():
        codec.zstd = SimpleNamespace()
        default_records.zstd_decode = zstd
    default_records.DefaultRecordBatch._read_msg = _read_record


_read_strictly = default_records.DefaultRecordBatch._read_msg


def _read_record(batch: Any, *args: Any) -> Any:
    """The batch's next record; its position moves only when a record was read whole."""
    try:
        return _read_strictly(batch, *args)
    except UnicodeDecodeError:
        strict = batch._buffer
        batch._buffer = _Bytes(strict)
        try:
            return _read_strictly(batch, *args)
        finally:
            batch._buffer = strict


class _Bytes(bytearray):
    """Bytes whose slices are names: ``decode`` never fails."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Name(found) if isinstance(place, slice) else found


class _Name(bytearray):
    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return bytes(self).decode(encoding, errors)


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
    if size > _SNAPPIEST * len(data):
        raise ValueError("a block of Snappy that claims more than it can hold")
    return bytes(pa.decompress(data, decompressed_size=size, codec="snappy", asbytes=True))


def snappy_blocks(data: bytes) -> Iterator[bytes]:
    """What blocks of Snappy hold, as Java frames them, or one block without a frame."""
    if not data.startswith(_XERIAL):
        yield snappy(data)
        return
    at = 16
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        yield snappy(data[at + 4 : end])
        at = end
