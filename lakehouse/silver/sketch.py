"""HyperLogLog sketches: how many different texts there were, in 4 KB, to within a few percent.

The bytes are those of Apache DataSketches' HLL_8 with 2^12 registers, as ``hll_sketch_agg(x, 12)``
of Spark makes them, with the same hash (MurmurHash3 of the UTF-8 bytes, seed 9001): Spark reads,
unites and counts them. A sketch is a function of the set of texts, whatever their order.

The standard error is 1.04 / sqrt(4096) = 1.6 %: of a hundred counts about five are off by more
than 3.3 %. The estimate is Ertl's improved one (O. Ertl, "New cardinality estimation algorithms
for HyperLogLog sketches", 2017, algorithm 6).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

_LOG = 12
_SIZE = 1 << _LOG
ERROR = 1.04 / math.sqrt(_SIZE)
"""The standard error of a count, as a part of it."""
_PREAMBLE = struct.Struct("<8B3d2i")
_HEAD = (10, 1, 7, _LOG, 0, 16, 0, 10)
"""Words before the registers, version, family, log2 of the registers, unused, out of order, least
register, HLL_8."""
_MOST = 62
"""Most leading zeros that count."""
_SEED = 9001
_KNOWN = (duckdb.NotImplementedException, duckdb.CatalogException)
"""A function of this name was made by this cursor; by another of its connection."""
_C1, _C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
Words = npt.NDArray[np.uint64]
Registers = npt.NDArray[np.uint8]


def with_sketches(connection: duckdb.DuckDBPyConnection) -> None:
    """Give SQL ``sketch_of`` a list of texts, ``sketch_union`` of sketches, ``sketch_count``.

    A connection that has them keeps them. It is not asked which it has: DuckDB takes twenty
    times as long to list its functions as to make these.
    """
    for name, made, given, back in (
        ("sketch_of", _sketches_of, "VARCHAR[]", "BLOB"),
        ("sketch_union", _unions, "BLOB[]", "BLOB"),
        ("sketch_count", _counts, "BLOB", "BIGINT"),
    ):
        with suppress(*_KNOWN):
            connection.create_function(name, made, [given], back, type="arrow")  # type: ignore[call-overload]  # a text does for its enum


def _sketches_of(lists: pa.ChunkedArray | pa.Array) -> pa.Array:
    found = []
    for texts in _each(lists):
        registers = np.zeros(_SIZE, np.uint8)
        if len(texts):
            low, high = hashes(texts)
            ranks = np.minimum(_leading_zeros(high), _MOST) + 1
            np.maximum.at(registers, low & np.uint64(_SIZE - 1), ranks.astype(np.uint8))
        found.append(_packed(registers))
    return pa.array(found, pa.binary())


def _unions(lists: pa.ChunkedArray | pa.Array) -> pa.Array:
    found = []
    for sketches in _each(lists):
        known = [s for s in sketches.to_pylist() if s is not None]
        whole = [_registers(sketch) for sketch in known]
        found.append(
            known[0] if len(known) == 1 else _packed(np.maximum.reduce(whole)) if whole else None
        )
    return pa.array(found, pa.binary())


def _counts(sketches: pa.ChunkedArray | pa.Array) -> pa.Array:
    return pa.array([None if s is None else estimate(s) for s in sketches.to_pylist()], pa.int64())


def _each(lists: pa.ChunkedArray | pa.Array) -> Sequence[pa.Array]:
    return [
        pa.array([], lists.type.value_type) if one.values is None else one.values for one in lists
    ]


def estimate(sketch: bytes) -> int:
    """How many different texts a sketch has seen, to the nearest whole number."""
    counts = np.bincount(_registers(sketch), minlength=_MOST + 2)
    found = _SIZE * _tau(1 - counts[_MOST + 1] / _SIZE)
    for rank in range(_MOST, 0, -1):
        found = 0.5 * (found + counts[rank])
    found += _SIZE * _sigma(counts[0] / _SIZE)
    return round(_SIZE * _SIZE / (2 * math.log(2)) / found)


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x, before = x * x, z
        z, y = z + x * y, 2 * y
    return z


def _tau(x: float) -> float:
    if x in {0, 1}:
        return 0.0
    y, z, before = 1.0, 1 - x, -1.0
    while z != before:
        x, before, y = math.sqrt(x), z, 0.5 * y
        z -= (1 - x) ** 2 * y
    return z / 3


def _packed(registers: Registers) -> bytes:
    counts = np.bincount(registers, minlength=64)
    parts = [math.ldexp(int(n), -rank) for rank, n in enumerate(counts.tolist())]
    low, high = math.fsum(parts[:32]), math.fsum(parts[32:])
    return _PREAMBLE.pack(*_HEAD, 0.0, low, high, int(counts[0]), 0) + registers.tobytes()


def _registers(sketch: bytes) -> Registers:
    return np.frombuffer(sketch, np.uint8, _SIZE, _PREAMBLE.size)


def hashes(texts: pa.Array) -> tuple[Words, Words]:
    """MurmurHash3 x64 of each text's bytes: both halves of the 128 bits."""
    values = [text.encode() for text in texts.to_pylist()]
    lengths = np.array([*map(len, values)], np.int64)
    low, high = np.empty(len(values), np.uint64), np.empty(len(values), np.uint64)
    blocks = lengths // 16
    for count in np.unique(blocks):
        rows = np.flatnonzero(blocks == count)
        width = 16 * (int(count) + 1)
        padded = b"".join(values[row].ljust(width, b"\0") for row in rows)
        words = np.frombuffer(padded, "<u8").reshape(len(rows), -1)
        low[rows], high[rows] = _murmur(words, lengths[rows].astype(np.uint64))
    return low, high


def _murmur(words: Words, lengths: Words) -> tuple[Words, Words]:
    """Of rows of 64-bit words; those behind a text's end are zeros, which change nothing."""
    h1 = h2 = np.full(len(words), _SEED, np.uint64)
    with np.errstate(over="ignore"):
        for at in range(0, words.shape[1] - 2, 2):
            h1 = _turned(h1 ^ _first(words[:, at]), 27) + h2
            h1 = h1 * _word(5) + _word(0x52DCE729)
            h2 = _turned(h2 ^ _second(words[:, at + 1]), 31) + h1
            h2 = h2 * _word(5) + _word(0x38495AB5)
        h2 = h2 ^ _second(words[:, -1]) ^ lengths
        h1 = h1 ^ _first(words[:, -2]) ^ lengths
        h1 = h1 + h2
        h2 = h2 + h1
        h1, h2 = _mixed(h1), _mixed(h2)
        h1 = h1 + h2
        return h1, h2 + h1


def _first(words: Words) -> Words:
    return _turned(words * _C1, 31) * _C2


def _second(words: Words) -> Words:
    return _turned(words * _C2, 33) * _C1


def _turned(words: Words, by: int) -> Words:
    return (words << _word(by)) | (words >> _word(64 - by))


def _mixed(words: Words) -> Words:
    words = (words ^ (words >> _word(33))) * _word(0xFF51AFD7ED558CCD)
    words = (words ^ (words >> _word(33))) * _word(0xC4CEB9FE1A85EC53)
    return words ^ (words >> _word(33))


@cache
def _word(value: int) -> np.uint64:
    return np.uint64(value)


def _leading_zeros(words: Words) -> npt.NDArray[np.int64]:
    zeros = np.full(len(words), 64, np.int64)
    for by in (32, 16, 8, 4, 2, 1):
        upper = words >> _word(by)
        found = upper != 0
        zeros = np.where(found, zeros - by, zeros)
        words = np.where(found, upper, words)
    return np.where(words != 0, zeros - 1, zeros)
