"""Rows of every type, for a table of our own."""

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("n", pa.int64(), nullable=False),
        pa.field("word", pa.string()),
        pa.field("price", pa.decimal128(18, 4)),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("raw", pa.binary()),
        pa.field("day", pa.date32(), nullable=False),
    ]
)


def rows(*numbers, days=3):
    at = [n * 1_000_000 + 7 for n in numbers]
    return pa.table(
        {
            "n": pa.array(numbers, pa.int64()),
            "word": [None if n % 5 == 0 else f"w{n}" * (40 if n == 9 else 1) for n in numbers],
            "price": pa.array([n / 4 for n in numbers]).cast(pa.decimal128(18, 4)),
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "raw": pa.array([bytes([n % 256]) for n in numbers], pa.binary()),
            "day": pa.array([n % days for n in numbers], pa.int32()).cast(pa.date32()),
        },
        schema=SCHEMA,
    )
