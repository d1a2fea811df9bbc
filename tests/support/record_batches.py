"""Record batches of Kafka made by hand: as no producer of ours would send them."""

import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from kafka.record.util import calc_crc32c

MIB = 2**20
CODES = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
NOW = 1_750_000_000_000


@dataclass(frozen=True)
class Repeated:
    """A value that is one byte, so many times."""

    byte: bytes
    size: int

    def pieces(self) -> Iterator[bytes]:
        yield from [self.byte * MIB] * (self.size // MIB)
        yield self.byte * (self.size % MIB)


def _varint(number: int) -> bytes:
    left, found = (number << 1) ^ (number >> 63), bytearray()
    while left > 127:
        found.append(left & 127 | 128)
        left >>= 7
    return bytes([*found, left])


def _bytes(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _record(delta: int, key, value, headers) -> Iterator[bytes]:
    size = value.size if isinstance(value, Repeated) else -1 if value is None else len(value)
    head = b"\0" + _varint(0) + _varint(delta) + _bytes(key) + _varint(size)
    tail = _varint(len(headers)) + b"".join(_bytes(n.encode()) + _bytes(h) for n, h in headers)
    yield _varint(len(head) + max(size, 0) + len(tail)) + head
    yield from value.pieces() if isinstance(value, Repeated) else [value or b""]
    yield tail


def _packed(pieces: Iterator[bytes], codec: str) -> bytes:
    if codec == "gzip":
        packing = zlib.compressobj(1, zlib.DEFLATED, 31)
        return b"".join(map(packing.compress, pieces)) + packing.flush()
    if codec == "snappy":
        blocks = (pa.compress(piece, codec="snappy", asbytes=True) for piece in pieces if piece)
        framed = b"".join(struct.pack(">i", len(block)) + block for block in blocks)
        return b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1) + framed
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as out:
        for piece in pieces:
            out.write(piece)
    return sink.getvalue().to_pybytes()


def batch(records, codec: str, base: int = 0, now: int = NOW) -> bytes:
    """A batch of (key, value, headers), compressed."""
    pieces = (p for n, record in enumerate(records) for p in _record(n, *record))
    return whole(_packed(pieces, codec), len(records), CODES[codec], base, now)


def whole(packed: bytes, count: int, codec: int, base: int = 0, now: int = NOW) -> bytes:
    """A batch that says it holds so many records."""
    said = struct.pack(">hiqqqhii", codec, count - 1, now, now, -1, -1, -1, count) + packed
    return struct.pack(">qiibI", base, 9 + len(said), -1, 2, calc_crc32c(said)) + said


def produce(servers: str, topic: str, batch: bytes, partition: int = 0) -> int:
    """Send a batch to a broker without a password; the offset of its first record."""
    host, port = servers.rsplit(":", 1)
    name = struct.pack(">h", len(topic)) + topic.encode()
    said = struct.pack(">hhih", 0, 7, 1, -1) + struct.pack(">hhi", -1, 1, 60_000)
    said += struct.pack(">i", 1) + name + struct.pack(">iii", 1, partition, len(batch)) + batch
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(struct.pack(">i", len(said)) + said)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        _, fault, offset = struct.unpack_from(">ihq", answer.read(size), 12 + len(name))
    if fault:
        raise ValueError(f"the broker's fault {fault}")
    return offset
