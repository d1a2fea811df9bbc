"""Keys of the store: hashes of columns, made by the engine, as bytes that sort as numbers do."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.storage.buckets import Hashes, Numbers

PROBE = "SELECT CAST(hash('a') AS VARCHAR)"
"""Tells whether an engine hashes as another did: a store is read by the one that made it."""


def hash_key(columns: Sequence[str]) -> str:
    """One text of several columns, for hashing: no two keys give the same."""
    return " || ".join(f"length(CAST({c} AS VARCHAR)) || ':' || {c}" for c in columns)


def bucket_hashes(keys: Sequence[str]) -> Hashes:
    """Gives the hash of each row's key that its bucket is told by: the same in every release."""

    def hashes(rows: pa.Table) -> Numbers:
        texts = [rows[key].cast(pa.string()) for key in keys]
        joined = pc.binary_join_element_wise(*texts, "|", null_handling="replace")
        values = joined.cast(pa.binary()).to_pylist()
        return np.fromiter(map(crc32, values), np.uint64, len(values))

    return hashes


def words_sql(key: str, name: str) -> str:
    """Select-list columns ``<name>_high`` and ``<name>_low``: 128 bits of a text's hash."""
    return f"hash({key}) AS {name}_high, hash('~' || ({key})) AS {name}_low"


def packed(rows: pa.Table, *columns: str) -> list[bytes]:
    """Unsigned 64-bit columns, side by side, as one key a row."""
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
    """Select-list of columns (name, SQL type) from what :func:`text_values` gave."""
    parsed = f"from_json({value}, '[\"VARCHAR\"]')"
    return ", ".join(
        f"CAST({parsed}[{place}] AS {kind}) AS {name}"
        for place, (name, kind) in enumerate(columns, 1)
    )
