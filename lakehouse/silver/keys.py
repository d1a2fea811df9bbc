"""Keys of the store: hashes of columns, made by the engine, as bytes that sort as numbers do."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakehouse.storage.duck import Prepared, Source, reading

PROBE = "SELECT CAST(hash('a') AS VARCHAR)"
"""Tells whether an engine hashes as another did: a store is read by the one that made it."""


def hash_key(columns: Sequence[str]) -> str:
    """One text of several columns, for hashing: no two keys give the same."""
    return " || ".join(f"length(CAST({c} AS VARCHAR)) || ':' || {c}" for c in columns)


def bucket_hash(columns: Sequence[str]) -> str:
    """A 32-bit hash of key columns that every release of the engine gives: files bear it."""
    return f"CAST(md5_number({hash_key(columns)}) % 4294967296 AS UINTEGER)"


class BucketHashes:
    """The hashes of a table's keys, a row each: planned once."""

    def __init__(
        self, keys: Sequence[str], schema: pa.Schema, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self._rows = Source(pa.schema([schema.field(name) for name in keys]))
        cursor = reading(connection, {"hashed": self._rows})
        self._hash = Prepared(cursor, f"SELECT {bucket_hash(keys)} AS hash FROM hashed")

    def __call__(self, rows: pa.Table) -> npt.NDArray[np.uint64]:
        """As many as there are rows, in their order."""
        self._rows.put(rows)
        found: npt.NDArray[np.uint64] = self._hash()["hash"].to_numpy().astype(np.uint64)
        self._rows.clear()
        return found


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
