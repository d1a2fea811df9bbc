"""A digest of each row, the same whoever wrote it and in whatever order columns and rows come.

A row's digest is 64 bits that depend on every cell that is not null and on the name
of its column; a null adds nothing, so a table that gains a nullable column keeps its
digests. It finds what was altered, not who wants to forge: there is no secret in it.
It is our own arithmetic, over NumPy, because it is stored in tables for years: no
library promises that its hash stays the same between releases at this speed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

Words = npt.NDArray[np.uint64]
BLOCK = 16_384
"""Rows at a time: their words stay in the processor's cache."""
_ODD = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xBF58476D1CE4E5B9)
_GOLDEN, _FIRST, _SECOND = (np.uint64(number) for number in _ODD)
_SHIFT, _OTHER = np.uint64(32), np.uint64(29)
_LONG = 64
"""Bytes of the longest text whose words are summed; longer ones are hashed one by one."""
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], dtype=np.uint64)
_PACK = msgspec.msgpack.Encoder().encode


def digests(rows: pa.RecordBatch) -> Words:
    """One digest a row."""
    total: Words = np.zeros(rows.num_rows, dtype=np.uint64)
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        if column.null_count < len(column):
            total += _cells(column, name)
    return _mixed(total)


def _cells(column: pa.Array, name: str) -> Words:
    """What each cell adds to its row's digest: one number where all cells are the same."""
    column = _plain(column)
    make: Callable[[pa.Array, np.uint64], Words] = _numbers
    if pat.is_string(column.type) or pat.is_binary(column.type):
        make = _texts
    elif pat.is_boolean(column.type):
        make = _flags
    found = _mixed(make(column, _seed(name)))
    if column.null_count:
        found[~column.is_valid().to_numpy(zero_copy_only=False)] = 0
    return found


def _plain(column: pa.Array) -> pa.Array:
    """The same values in the one layout that is hashed."""
    kind = column.type
    if pat.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pat.is_nested(kind):
        packed = [None if cell is None else _PACK(cell) for cell in column.to_pylist()]
        return pa.array(packed, pa.binary())
    if pat.is_large_string(kind) or pat.is_string_view(kind):
        return column.cast(pa.string())
    if pat.is_large_binary(kind) or pat.is_binary_view(kind):
        return column.cast(pa.binary())
    if pat.is_timestamp(kind) and kind.unit != "us":
        return column.cast(pa.timestamp("us", kind.tz))
    if pat.is_decimal(kind) and not pat.is_decimal128(kind):
        return column.cast(pa.decimal128(kind.precision, kind.scale))
    return column


@cache
def _seed(name: str) -> np.uint64:
    return np.uint64(
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    )


def _mixed(words: Words) -> Words:
    """Each bit spread over the whole word, in place."""
    words ^= words >> _SHIFT
    words *= _FIRST
    words ^= words >> _OTHER
    words *= _SECOND
    words ^= words >> _SHIFT
    return words


def _numbers(column: pa.Array, seed: np.uint64) -> Words:
    """Whole numbers, dates, times and decimals, by their bits."""
    size, start = column.type.bit_width // 8, column.offset
    buffer = column.buffers()[1]
    if size == 16:
        pairs = np.frombuffer(buffer, np.uint64, 2 * len(column), start * 16).reshape(-1, 2)
        found: Words = pairs[:, 1] * _GOLDEN
        found ^= pairs[:, 0]
        found ^= seed
        return found
    values = np.frombuffer(buffer, f"<i{size}", len(column), start * size)
    if not column.null_count and (values == values[0]).all():
        values = values[:1]
    return values.astype(np.int64).view(np.uint64) ^ seed


def _flags(column: pa.Array, seed: np.uint64) -> Words:
    if not column.null_count and column.true_count in {0, len(column)}:
        column = column[:1]
    packed = np.frombuffer(column.buffers()[1], np.uint8)
    bits = np.unpackbits(packed, bitorder="little", count=column.offset + len(column))
    return (np.array([0, 1], dtype=np.uint64) ^ seed)[bits[column.offset :]]


def _texts(column: pa.Array, seed: np.uint64) -> Words:
    """Texts and bytes: their length, and their words, each by its place."""
    rows, (_, offsets, bytes_) = len(column), column.buffers()
    ends = np.frombuffer(offsets, np.int32, rows + 1, column.offset * 4)
    first, size = int(ends[0]), int(ends[-1] - ends[0])
    length = np.diff(ends)
    longest, shortest = int(length.max()), int(length.min())
    found: Words = length.astype(np.uint64)
    found *= _GOLDEN
    found ^= seed
    if longest == shortest <= _LONG:
        wide = -(-longest // 8)
        padded = np.zeros((rows, 8 * wide), dtype=np.uint8)
        if size:
            padded[:, :longest] = np.frombuffer(bytes_, np.uint8, size, first).reshape(rows, -1)
        words = padded.view(np.uint64)
        if not column.null_count and (words == words[0]).all():
            words, found = words[:1], found[:1]
        for place in range(wide):
            found += _placed(words[:, place].copy(), place)
        return found
    data = np.zeros(size + _LONG + 8, dtype=np.uint8)
    data[:size] = np.frombuffer(bytes_, np.uint8, size, first)
    start = (ends[:-1] - first).astype(np.int64)
    _add_words(found, data, start, length)
    for row in np.flatnonzero(length > _LONG).tolist():
        text = data[start[row] : start[row] + length[row]]
        found[row] = _seed_of(text) ^ seed
    return found


def _add_words(found: Words, data: Any, start: Any, length: Any) -> None:
    shortest, longest = length.min(), min(length.max(), _LONG)
    words = np.ndarray((len(data) - 7,), "<u8", buffer=data, strides=(1,))
    for place in range(-(-longest // 8)):
        word = words[8 * place :][start]
        if 8 * (place + 1) > shortest:
            word &= _MASKS.take(length - 8 * place, mode="clip")
        found += _placed(word, place)


def _placed(words: Words, place: int) -> Words:
    """The words as they count at a place, in place; what is 0 stays 0.

    A factor alone carries no bit of a word downwards: changes of the last bytes of two
    words would cancel once in 256 times, and swaps of two letters more often.
    """
    first, second = _PLACES[place]
    words *= first
    words ^= words >> _SHIFT
    words *= second
    return words


def _seed_of(text: Any) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


_PLACES = [
    tuple(_seed_of(f"{place} {which}".encode()) | np.uint64(1) for which in ("first", "second"))
    for place in range(_LONG // 8)
]
"""Two factors for each word of a text; odd, so no change of one word is lost."""
