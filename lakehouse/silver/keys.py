"""Keys of the store: hashes of columns, computed in SQL, as bytes that sort like numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.storage.buckets import Hashes, Numbers

PROBE = "SELECT CAST(hash('a') AS VARCHAR)"
"""Shows whether two engines hash alike: a store is only read by an engine like its maker's."""

ZERO = 1 << 63
"""What is added to a moment, in microseconds since 1970, where it is part of a key."""
_MOMENT, _TIME = struct.Struct(">Q"), pa.timestamp("us", "UTC")
MOST_OF_A_TIME = 4_000
"""Rows of a bucket of one time: it is written again at each batch until the next one begins."""
_DAY, _TIME_BITS = 86_400_000_000, 11
_REVERSED = np.array(
    [int(f"{part:0{_TIME_BITS}b}"[::-1], 2) for part in range(1 << _TIME_BITS)], np.uint64
)
"""Each part of a day, of 42 seconds, with its bits in reverse."""


def moment_key(micros: int) -> bytes:
    """Bytes that sort as the moments do, given in microseconds since 1970."""
    return _MOMENT.pack(micros + ZERO)


def hash_key(columns: Sequence[str]) -> str:
    """SQL: several columns as one text for hashing; different keys give different texts."""
    return " || ".join(f"length(CAST({c} AS VARCHAR)) || ':' || {c}" for c in columns)


def bucket_hashes(keys: Sequence[str]) -> Hashes:
    """A function from rows to the hash of each key, which decides its bucket; never changes."""

    def hashes(rows: pa.Table) -> Numbers:
        texts = [_texts(rows[key]) for key in keys]
        joined = pc.binary_join_element_wise(*texts, "|", null_handling="replace")
        values = joined.cast(pa.binary()).to_pylist()
        return np.fromiter(map(crc32, values), np.uint64, len(values))

    return hashes


def moment_hashes(moment: str, keys: Sequence[str]) -> Hashes:
    """As :func:`bucket_hashes`, for tables that are partitioned by the date of ``moment``.

    The bits that are asked first are the time of day, morning or afternoon before all: rows
    of one time share a bucket, and a batch of what happens now touches few.
    """
    others = bucket_hashes(keys)

    def hashes(rows: pa.Table) -> Numbers:
        micros = rows[moment].cast(pa.int64()).to_numpy() % _DAY
        parts: Numbers = _REVERSED[micros * len(_REVERSED) // _DAY]
        return parts | others(rows) << np.uint64(_TIME_BITS)

    return hashes


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """As a cast gives them; moments in a tenth of its time, since they share their seconds."""
    if column.type != _TIME or column.null_count or not len(column):
        return column.cast(pa.string())
    seconds, micros = np.divmod(column.cast(pa.int64()).to_numpy(), 1_000_000)
    known, at = np.unique(seconds, return_inverse=True)
    texts = pa.array(known).cast(pa.timestamp("s", "UTC")).cast(pa.string())
    begun = pc.utf8_slice_codeunits(texts, 0, -1).take(pa.array(at))
    below = pc.utf8_lpad(pa.array(micros).cast(pa.string()), 6, "0")
    return pa.chunked_array([pc.binary_join_element_wise(begun, ".", below, "Z", "")])


def words_sql(key: str, name: str) -> str:
    """SQL: the columns ``<name>_high`` and ``<name>_low`` with 128 bits of a text's hash."""
    return f"hash({key}) AS {name}_high, hash('~' || ({key})) AS {name}_low"


def packed(rows: pa.Table, *columns: str) -> list[bytes]:
    """Unsigned 64-bit columns, joined into one key of bytes per row."""
    if not rows.num_rows:
        return []
    words = np.empty((rows.num_rows, len(columns)), ">u8")
    for place, column in enumerate(columns):
        words[:, place] = rows[column].to_numpy()
    return list(words.view(f"V{8 * len(columns)}").ravel().tolist())


def text_values(columns: Sequence[str]) -> str:
    """SQL: columns as one JSON list of texts, which keeps every type exact."""
    return f"to_json([{', '.join(f'CAST({c} AS VARCHAR)' for c in columns)}])"


def from_text_values(columns: Sequence[tuple[str, str]], value: str) -> str:
    """SQL: the columns (name, SQL type) read back from the text of :func:`text_values`."""
    parsed = f"from_json({value}, '[\"VARCHAR\"]')"
    return ", ".join(
        f"CAST({parsed}[{place}] AS {kind}) AS {name}"
        for place, (name, kind) in enumerate(columns, 1)
    )
