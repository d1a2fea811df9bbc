"""A record that is larger than ``[bronze] max_record_mb``: its row keeps a size and a hash alone.

Such a record is in quarantine by its address. Key, value and headers are null there;
``left_out_bytes`` says how many bytes they are, and ``left_out_sha256`` is :func:`sha256`
of them, so that the audit can hold the row against Kafka. Of a record whose batch cannot be
unpacked they say 0, and the hash of the batch's packed bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import pyarrow as pa

from lakehouse.ingest.verdict import Explained

LEFT_OUT = [pa.field("left_out_bytes", pa.int64()), pa.field("left_out_sha256", pa.string())]
HEADER = 64
"""Bytes that a header counts for beside its name and value: a million empty ones are large."""
_FAULT = "the record is larger than [bronze] max_record_mb allows: {0:,} bytes"
_UNREADABLE = "the record's compressed batch cannot be unpacked"

Headers = Iterable[tuple[str, bytes | None]] | None

_SIZE = f"""CAST(coalesce(octet_length(key), 0) AS BIGINT) + coalesce(octet_length(value), 0)
+ coalesce(aggregate(headers, 0L, (sum, h) -> sum + {HEADER} + octet_length(h.key)
    + coalesce(octet_length(h.value), 0)), 0L)"""
_SHA256 = """sha2(concat_ws(' ', coalesce(sha2(key, 256), '-'), coalesce(sha2(value, 256), '-'),
sha2(coalesce(array_join(transform(headers,
    h -> concat(hex(h.key), '=', coalesce(hex(h.value), '-'))), ','), ''), 256)), 256)"""


class LeftOut(bytes):
    """An empty value in the place of a whole record that was not held: what is known of it."""

    size: int
    sha256: str

    @classmethod
    def of(cls, size: int, sha256: str) -> LeftOut:
        """The value of a record of this size and hash."""
        made = cls()
        made.size, made.sha256 = size, sha256
        return made


def spark_columns(headers: str, most: int) -> list[str]:
    """Spark's SQL for key, value and headers without what is larger, and the two columns of it.

    ``headers`` is the SQL that gives a small record's.
    """
    kept = {"key": "key", "value": "value", "headers": headers}
    told = {"left_out_bytes": _SIZE, "left_out_sha256": _SHA256}
    is_large = f"{_SIZE} > {most}"
    return [
        *[f"CASE WHEN {is_large} THEN NULL ELSE {sql} END AS {name}" for name, sql in kept.items()],
        *[f"CASE WHEN {is_large} THEN {sql} END AS {name}" for name, sql in told.items()],
    ]


def size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """What a record counts for."""
    more = sum(HEADER + len(name.encode()) + len(h or b"") for name, h in headers or ())
    return len(key or b"") + len(value or b"") + more


def sha256(key: bytes | None, value: bytes | None, headers: Headers) -> str:
    """A hash over the hashes of key, value and headers, as docs/operations.md says it."""
    told = ",".join(
        f"{name.encode().hex().upper()}={'-' if h is None else h.hex().upper()}"
        for name, h in headers or ()
    )
    return joined(_hash(key), _hash(value), _hash(told.encode()))


def joined(key: str, value: str, headers: str) -> str:
    """The hash over the hashes of a record's parts, ``-`` for what is null."""
    return hashlib.sha256(f"{key} {value} {headers}".encode()).hexdigest()


def _hash(data: bytes | None) -> str:
    return "-" if data is None else hashlib.sha256(data).hexdigest()


def larger(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers],
    most: int,
) -> dict[int, tuple[int, str]]:
    """Row → size and hash of each record that is larger than ``most`` bytes, or was not held."""
    unheld = {r: (v.size, v.sha256) for r, v in enumerate(values) if isinstance(v, LeftOut)}
    total = sum(map(len, filter(None, values))) + sum(map(len, filter(None, keys)))
    if total <= most and not any(headers):
        return unheld
    records = enumerate(zip(keys, values, headers, strict=True))
    found = {row: (size(*record), record) for row, record in records}
    return unheld | {row: (n, sha256(*record)) for row, (n, record) in found.items() if n > most}


def columns_of(found: dict[int, tuple[int, str]], rows: int) -> list[pa.Array]:
    """The two columns, of so many rows."""
    if not found:
        return [pa.nulls(rows, field.type) for field in LEFT_OUT]
    cells = [found.get(row, (None, None)) for row in range(rows)]
    return [pa.array([cell[n] for cell in cells], LEFT_OUT[n].type) for n in (0, 1)]


def too_large(batch: pa.RecordBatch) -> dict[int, Explained]:
    """The verdict of each row whose bytes are left out; a batch may lack the columns."""
    place = batch.schema.get_field_index(LEFT_OUT[0].name)
    if place < 0 or batch.column(place).null_count == batch.num_rows:
        return {}
    sizes = batch.column(place).to_pylist()
    return {
        row: Explained({}, None, _FAULT.format(size) if size else _UNREADABLE)
        for row, size in enumerate(sizes)
        if size is not None
    }
