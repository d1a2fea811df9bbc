"""Headers of records on their way from the JVM to Python: as JSON text, one value a record.

Spark measures an Arrow batch at every row that it adds, so that bytes bound it, and to measure
a list of structs it walks through all of them: that cost a third of a drain's CPU. Text
costs little, and most records have no headers.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

HEADERS = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.binary())]))
AS_TEXT = "to_json(transform(headers, h -> named_struct('key', h.key, 'value', hex(h.value))))"
"""Spark's SQL for the column; null for a record without headers."""


class _Header(msgspec.Struct):
    key: str
    value: str | None = None
    """In hex."""


_HEADERS = msgspec.json.Decoder(list[_Header])


def with_headers(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Kafka rows with the headers that :data:`AS_TEXT` made text."""
    place = batch.schema.get_field_index("headers")
    texts = batch.column(place)
    if texts.null_count == len(texts):
        return batch.set_column(place, "headers", pa.nulls(len(texts), HEADERS))
    cells = [None if t is None else _cells(_HEADERS.decode(t)) for t in texts.to_pylist()]
    return batch.set_column(place, "headers", pa.array(cells, HEADERS))


def _cells(headers: list[_Header]) -> list[dict[str, Any]]:
    return [
        {"key": h.key, "value": None if h.value is None else bytes.fromhex(h.value)}
        for h in headers
    ]
