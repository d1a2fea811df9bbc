"""What the decoder makes of records, against what the oracle says that it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pyarrow as pa

from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.headers import HEADERS
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.registry import contract
from tests.fuzz import events
from tests.fuzz.changes import change
from tests.fuzz.events import Fuzzed
from tests.fuzz.oracle import EARLIEST, TOLERANCE, Broken, parse, sale

RULES = TimeRules(EARLIEST, TOLERANCE)
BATCH = 1_000
_RAW = ("key", "value", "headers")


@dataclass(frozen=True)
class Product:
    """How records of a topic are drawn, what each must become, and which columns hold JSON."""

    name: str
    of: str
    """Whose contract it is."""
    draw: Callable[[Random], Fuzzed]
    oracle: Callable[[Fuzzed], dict[str, Any]]
    json: tuple[str, ...]


PRODUCTS = (
    Product("sales", "sales", events.sale, lambda r: sale(r.value, r.time), ("extra",)),
    Product(
        "habits", "sales", events.sale_of_a_habit, lambda r: sale(r.value, r.time), ("extra",)
    ),
    Product(
        "orders", "orders", events.change, lambda r: change(r.key, r.value, r.headers, r.time),
        ("extra", "before"),
    ),
)  # fmt: skip


def batch_of(product: Product, seed: int, number: int, size: int = BATCH) -> list[Fuzzed]:
    """The records of one batch; the same for the same seed and number."""
    draw = Random(f"{product.name}:{seed}:{number}")  # no secret
    return [product.draw(draw) for _ in range(size)]


def decoded(product: Product, records: list[Fuzzed]) -> dict[int, dict[str, Any]]:
    """The decoder's rows by offset; an address that comes twice, or none, is a fault."""
    size = len(records)
    batch = pa.RecordBatch.from_pydict(
        {
            "key": pa.array([r.key for r in records], pa.binary()),
            "value": pa.array([r.value for r in records], pa.binary()),
            "headers": pa.array([r.headers for r in records], HEADERS),
            "topic": pa.array([product.name] * size),
            "partition": pa.array([0] * size, pa.int32()),
            "offset": pa.array(range(size), pa.int64()),
            "timestamp": pa.array([r.time for r in records], pa.timestamp("us", "UTC")),
        }
    )
    of = contract(product.of)
    found = list(decode_batch(batch, of, RULES))
    rows = pa.Table.from_batches(found, decoded_schema(of)).to_pylist()
    by_offset = {row["offset"]: row for row in rows}
    if len(rows) != size or by_offset.keys() != set(range(size)):
        raise AssertionError(f"{size} records became {len(rows)} rows")
    return by_offset


def differences(product: Product, records: list[Fuzzed]) -> Iterator[str]:
    """How the decoder and the oracle differ, a line a record; nothing where they agree."""
    rows = decoded(product, records)
    for offset, record in enumerate(records):
        for fault in faults(product, record, rows[offset]):
            yield f"{fault}\n    {record}"


def faults(product: Product, record: Fuzzed, row: dict[str, Any]) -> Iterator[str]:
    """How one decoded row differs from what its record must become."""
    if (row["kafka_time"], row["topic"], row["partition"]) != (record.time, product.name, 0):
        yield "another address"
    if row["left_out_bytes"] is not None or row["left_out_sha256"] is not None:
        yield "a record of a few bytes is left out as too large"
    own = [*contract(product.of).schema.names, "extra"]
    try:
        wanted = product.oracle(record)
    except Broken as broken:
        if row["verdict"] is None:
            yield f"taken, and the oracle refuses it: {broken}"
        elif [row[name] for name in _RAW] != [record.key, record.value, record.headers]:
            yield "a bad record's bytes differ"
        elif any(row[name] is not None for name in own):
            yield "a bad record has columns"
        return
    if row["verdict"] is not None:
        yield f"refused, and the oracle takes it: {row['verdict']}"
        return
    if any(row[name] is not None for name in _RAW):
        yield "a good record has raw bytes"
    for name in own:
        held = row[name]
        if name in product.json and held is not None:
            held = parse(held)
        if held != wanted[name] or type(held) is not type(wanted[name]):
            yield f"column {name} is {row[name]!r}, and the oracle says {wanted[name]!r}"
