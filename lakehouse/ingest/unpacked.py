"""Compressed batches of Kafka, as kafka-python reads them, in memory that their size does not set.

Forty kilobytes on the wire may be a gigabyte, in one record or in a thousand. No more of
them is held than a piece and one record; of a record with more than ``most`` bytes its size
and hash. kafka-python has no place to say so: what it unpacks with is put into it here.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar

import pyarrow as pa
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaError
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.legacy_records import LegacyRecord, LegacyRecordBatch
from kafka.record.util import decode_varint

from lakehouse.core.codecs import snappy_blocks
from lakehouse.ingest.left_out import HEADER, LeftOut, joined

_MIB = 1024 * 1024
_PIECE = _MIB // 4
AT_ONCE = 8 * _MIB
"""Bytes of records that one poll gives, and the last of them more."""
_MOST = 1024 * _MIB
"""What ``[bronze] max_record_mb`` allows at most: no table holds a larger record whole."""
_SET = _MOST
"""Of a message set, as Kafka compressed before 2017, which must be whole to have its offsets: the
C client, which reads it first, has no memory for more."""
_VARINT = 10
_BESIDE = 64
"""Bytes of a record, at most, that are not of its key, value or headers."""
_NAMES = {1: "gzip", 3: "lz4", 4: "zstd"}
_SNAPPY = 2
_BROKEN = (OSError, ValueError, IndexError, KafkaError)


def install(most: int = _MOST) -> None:
    """Let kafka-python read so; a record of more than ``most`` bytes is not held."""
    _Batch.most = most
    memory_records.DefaultRecordBatch = _Batch
    memory_records.LegacyRecordBatch = _Set
    Fetcher.PartitionRecords.take = _take
    Fetcher._append = _append


def batch_end(record: Any) -> int:
    """The offset after the batch that a record of kafka-python came in."""
    return record.offset + 1 if record.checksum is None else int(record.checksum)


class _Record(DefaultRecord):  # type: ignore[misc]  # kafka-python has no types
    """A record that knows its batch's end."""

    __slots__ = ("_end",)

    def __init__(self, record: DefaultRecord, end: int) -> None:
        for slot in DefaultRecord.__slots__:
            setattr(self, slot, getattr(record, slot))
        self._end = end

    @property
    def checksum(self) -> int:
        """What kafka-python passes on; records of this format have none of their own."""
        return self._end


class _Message(LegacyRecord):  # type: ignore[misc]  # kafka-python has no types
    """A record of the formats before 2017 that knows its set's end."""

    __slots__ = ("_end",)

    def __init__(self, record: LegacyRecord, end: int) -> None:
        for slot in LegacyRecord.__slots__:
            setattr(self, slot, getattr(record, slot))
        self._end = end

    @property
    def checksum(self) -> int:
        """As :attr:`_Record.checksum`."""
        return self._end


class _Set(LegacyRecordBatch):  # type: ignore[misc]  # likewise
    """A message, or a compressed set of them; of one too large to unpack its last address."""

    _decompressed: bool

    def __iter__(self) -> Iterator[_Message]:
        end = self._offset + 1
        if self.compression_type and not self._decompressed:
            packed = self._packed()
            try:
                self._buffer = memoryview(_bounded(_pieces(self.compression_type, packed)))
                self._decompressed = True
            except _BROKEN:
                value = LeftOut.of(0, hashlib.sha256(packed).hexdigest())
                told = self._crc_bytes(0, self._length)
                about = (self._offset, self._timestamp, self.timestamp_type)
                bare = LegacyRecord(self._magic, *about, None, value, self._crc, told)
                yield _Message(bare, end)
                return
        for record in super().__iter__():
            yield _Message(record, end)

    def _packed(self) -> bytes:
        """The wrapper's value; nothing where it has none."""
        at = self.KEY_OFFSET_V1 if self._magic == 1 else self.KEY_OFFSET_V0
        return bytes(self._read_key_value(at)[1] or b"")


class _Batch(DefaultRecordBatch):  # type: ignore[misc]  # likewise
    most: ClassVar[int] = _MOST

    def __iter__(self) -> Any:
        return self._unpacked() if self.compression_type else self

    def _unpacked(self) -> Iterator[_Record]:
        """The records; where the rest cannot be unpacked, an address and a hash for each of it."""
        packed = bytes(memoryview(self._buffer)[self._pos :])
        end, after = self.next_offset, self.base_offset
        try:
            for record in self._records(_Stream(_pieces(self.compression_type, packed))):
                yield _Record(record, end)
                after = record.offset + 1
        except _BROKEN:
            value = LeftOut.of(0, hashlib.sha256(packed).hexdigest())
            for offset in range(after, end):
                yield _Record(self._bare(offset, self.max_timestamp, value), end)

    def _records(self, stream: _Stream) -> Iterator[DefaultRecord]:
        for _ in range(self.records_count):
            length, whole = stream.next_record()
            if length > self.most + _BESIDE:
                yield self._large(stream, stream.number())
                continue
            stream.need(whole)
            self._buffer, self._pos = stream.held, stream.at
            yield self._read_msg()
            stream.at = self._pos

    def _large(self, stream: _Stream, length: int) -> DefaultRecord:
        """A record of which no more than its size and hash is kept."""
        ends = stream.passed + length
        stream.skip(1)
        delta, offset = stream.number(), stream.number()
        size, key = stream.digest(stream.number())
        more, value = stream.digest(stream.number())
        size += more
        headers = hashlib.sha256()
        for n in range(stream.number()):
            headers.update(b"," if n else b"")
            name, digits = 0, codecs.getincrementaldecoder("utf-8")("replace")
            for piece, is_last in stream.parts(stream.number()):
                text = digits.decode(piece, is_last).encode()
                name += len(text)
                headers.update(text.hex().upper().encode())
            headers.update(b"=")
            held = stream.number()
            headers.update(b"-" if held < 0 else b"")
            for piece, _ in stream.parts(held):
                headers.update(piece.hex().upper().encode())
            size += HEADER + name + max(held, 0)
        if stream.passed != ends:
            raise ValueError("the record is not as long as it says")
        time = self.max_timestamp if self.timestamp_type else self.first_timestamp + delta
        told = joined(key, value, headers.hexdigest())
        return self._bare(self.base_offset + offset, time, LeftOut.of(size, told))

    def _bare(self, offset: int, time: int, value: LeftOut) -> DefaultRecord:
        return DefaultRecord(0, offset, time, self.timestamp_type, None, value, [])


class _Stream:
    """Unpacked bytes, read on; ``held`` from ``at`` on is what was unpacked and not yet read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._before = 0
        self.held, self.at = bytearray(), 0

    @property
    def passed(self) -> int:
        """How many bytes were read."""
        return self._before + self.at

    def need(self, size: int) -> None:
        """Have so many bytes held; IndexError where there are not so many."""
        if not self._has(size):
            raise IndexError("the batch ends within a record")

    def _has(self, size: int) -> bool:
        if size < 0:
            raise ValueError("a length below nothing")
        if len(self.held) - self.at >= size:
            return True
        self._before += self.at
        self.held, self.at = self.held[self.at :], 0
        for piece in self._pieces:
            self.held += piece
            if len(self.held) >= size:
                return True
        return False

    def next_record(self) -> tuple[int, int]:
        """The length of the next record as it says it, and with the bytes that say it."""
        self._has(_VARINT)
        length, after = decode_varint(self.held, self.at)
        return length, after - self.at + length

    def number(self) -> int:
        """The next number, as records have them."""
        self._has(_VARINT)
        found, self.at = decode_varint(self.held, self.at)
        return int(found)

    def skip(self, size: int) -> None:
        """Leave so many bytes out."""
        self.need(size)
        self.at += size

    def parts(self, size: int) -> Iterator[tuple[bytes, bool]]:
        """The next bytes in pieces, and whether each is the last; none where size is below 1."""
        while size > 0:
            self.need(1)
            piece = bytes(self.held[self.at : self.at + min(size, _PIECE)])
            self.at += len(piece)
            size -= len(piece)
            yield piece, not size

    def digest(self, size: int) -> tuple[int, str]:
        """Size and hash of the next bytes; those of null where the size is below 0."""
        found = hashlib.sha256()
        for piece, _ in self.parts(size):
            found.update(piece)
        return max(size, 0), "-" if size < 0 else found.hexdigest()


def _pieces(codec: int, packed: bytes) -> Iterator[bytes]:
    """What a batch's bytes unpack to; OSError or ValueError where they are broken."""
    if codec == _SNAPPY:
        yield from snappy_blocks(packed)
    elif codec in _NAMES:
        with pa.CompressedInputStream(pa.BufferReader(packed), _NAMES[codec]) as stream:
            while piece := stream.read(_PIECE):
                yield piece
    else:
        raise ValueError(f"a compression that nobody knows: {codec}")


def _bounded(pieces: Iterator[bytes]) -> bytearray:
    """All pieces together; ValueError where they are no message, or too many."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > _SET:
            raise ValueError(f"a message set of more than {_SET:,} bytes")
    if not found:
        raise ValueError("a message set of nothing")
    return found


def _take(part: Any, most: int) -> list[Any]:
    """kafka-python's own, which stops at so many bytes, too."""
    part._maybe_raise_next_inline_exception()
    records: list[Any] = []
    size = 0
    try:
        for record in islice(part.record_iterator, most):
            records.append(record)
            size += max(record.serialized_key_size, 0) + max(record.serialized_value_size, 0)
            size += max(record.serialized_header_size, 0) + getattr(record.value, "size", 0)
            if size > AT_ONCE:
                break
    except Exception as error:
        if not records:
            raise
        part._next_inline_exception = error
    part.is_enough = size > AT_ONCE
    return records


_append_all = Fetcher._append


def _append(fetcher: Any, drained: Any, part: Any, most: int, update_offsets: bool) -> int:
    """kafka-python's own; where a poll has enough it counts as full."""
    count = int(_append_all(fetcher, drained, part, most, update_offsets))
    return most if getattr(part, "is_enough", False) else count
