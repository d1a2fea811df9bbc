"""Customers for training, out of a file or a generator: judged by the contract, as bronze does."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
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
    for some in _batches(values, now):
        decoded = pa.Table.from_batches(decode_batch(some, CUSTOMERS, _RULES), schema)
        verdicts = decoded.column("verdict").combine_chunks()
        found.append(decoded.filter(verdicts.is_null()).select(names))
        told = verdicts.drop_null()
        broken += len(told)
        example = example or (told[0].as_py() if len(told) else "")
    return Customers(source, digest, pa.concat_tables(found), broken, example)


def _batches(values: Iterable[bytes | None], now: datetime) -> Iterator[pa.RecordBatch]:
    """Values as the Kafka rows that decoding takes."""
    rows = iter(values)
    while some := list(itertools.islice(rows, _AT_ONCE)):
        size = len(some)
        columns = {
            "key": pa.nulls(size, pa.binary()),
            "value": pa.array(some, pa.binary()),
            "headers": pa.nulls(size, HEADERS),
            "topic": pa.nulls(size, pa.string()),
            "partition": pa.nulls(size, pa.int32()),
            "offset": pa.array(range(size), pa.int64()),
            "timestamp": pa.repeat(pa.scalar(now, TIME), size),
        }
        yield pa.RecordBatch.from_pydict(columns)
