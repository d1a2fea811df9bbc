"""Keys of the store: hashes of columns, computed in SQL, as bytes that sort like numbers."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.storage.buckets import Hashes, Numbers

PROBE = "SELECT CAST(hash('a') AS VARCHAR)"
"""Shows whether two engines hash alike: a store is only read by an engine like its maker's."""


def hash_key(columns: Sequence[str]) -> str:
    """SQL: several columns as one text for hashing; different keys give different texts."""
    return " || ".join(f"length(CAST({c} AS VARCHAR)) || ':' || {c}" for c in columns)


def bucket_hashes(keys: Sequence[str]) -> Hashes:
    """A function from rows to the hash of each key, which decides its bucket; never changes."""

    def hashes(rows: pa.Table) -> Numbers:
        texts = [rows[key].cast(pa.string()) for key in keys]
        joined = pc.binary_join_element_wise(*texts, "|", null_handling="replace")
        values = joined.cast(pa.binary()).to_pylist()
        return np.fromiter(map(crc32, values), np.uint64, len(values))

    return hashes


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
