"""Customers for training, out of a file or a generator: judged by the contract, as bronze does."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.headers import HEADERS
from lakehouse.ingest.kafka_time import TIME
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.churn.contract import CUSTOMERS
from producers.churn import table
from producers.churn.customers import Customers as Generated
from producers.churn.events import messages, of_row

_AT_ONCE = 10_000
_RULES = TimeRules(datetime(1970, 1, 1, tzinfo=UTC), timedelta(days=1))


@dataclass(frozen=True)
class Customers:
    """Rows that keep the contract, and what became of the others."""

    source: str
    sha256: str
    rows: pa.Table
    """The contract's columns."""
    broken: int
    example: str
    """The first verdict."""


def of_file(path: Path, now: datetime) -> Customers:
    """The customers of a file with IBM's columns; UsageError where it cannot be read."""
    rows = enumerate(table.rows(path))
    values = (of_row(row, str(number), now, 0.0).value for number, row in rows)
    return _judged(path.name, table.digest_of(path), values, now)


def generated(count: int, seed: int, now: datetime) -> Customers:
    """So many of the producer's; the hash is of their values, one after the other."""
    told = zip(itertools.repeat(now, count), Generated(seed), strict=False)
    values = [message.value for message in messages(told, seed, f"s{seed}", 0.0)]
    digest = sha256(b"".join(value or b"" for value in values)).hexdigest()
    return _judged(f"{count:,} generated customers, seed {seed}", digest, values, now)


def _judged(source: str, digest: str, values: Iterable[bytes | None], now: datetime) -> Customers:
    schema, names = decoded_schema(CUSTOMERS), CUSTOMERS.schema.names
    found, broken = [schema.empty_table().select(names)], 0
    example = ""
    rows = iter(values)
    while some := list(itertools.islice(rows, _AT_ONCE)):
        given = kafka_rows(some, now)
        decoded = pa.Table.from_batches(decode_batch(given, CUSTOMERS, _RULES), schema)
        verdicts = decoded.column("verdict").combine_chunks()
        found.append(decoded.filter(verdicts.is_null()).select(names))
        told = verdicts.drop_null()
        broken += len(told)
        example = example or (told[0].as_py() if len(told) else "")
    return Customers(source, digest, pa.concat_tables(found), broken, example)


def kafka_rows(
    values: Sequence[bytes | None], time: datetime, *, topic: str = "", first: int = 0
) -> pa.RecordBatch:
    """Values as the Kafka rows that decoding takes: of one partition, offsets from ``first``."""
    size = len(values)
    return pa.RecordBatch.from_pydict(
        {
            "key": pa.nulls(size, pa.binary()),
            "value": pa.array(values, pa.binary()),
            "headers": pa.nulls(size, HEADERS),
            "topic": pa.repeat(topic, size),
            "partition": pa.repeat(pa.scalar(0, pa.int32()), size),
            "offset": pa.array(range(first, first + size), pa.int64()),
            "timestamp": pa.repeat(pa.scalar(time, TIME), size),
        }
    )
