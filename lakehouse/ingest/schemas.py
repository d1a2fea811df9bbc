"""The columns of bronze and quarantine."""

from __future__ import annotations

import pyarrow as pa

from lakehouse.ingest.decode import ADDRESS
from lakehouse.ingest.headers import HEADERS
from lakehouse.ingest.kafka_time import TIME
from lakehouse.ingest.left_out import LEFT_OUT
from lakehouse.model.contract import Contract


def bronze_schema(contract: Contract) -> pa.Schema:
    """The event's own columns, ``extra``, the record's address and what landing adds."""
    return pa.schema(
        [
            *contract.schema,
            pa.field("extra", pa.string()),
            *[f.with_nullable(False) for f in ADDRESS],
            pa.field("ingest_time", TIME, nullable=False),
            pa.field("batch_id", pa.int64(), nullable=False),
            pa.field("watermark", TIME),
            pa.field("is_late", pa.bool_(), nullable=False),
            pa.field("is_duplicate", pa.bool_(), nullable=False),
            pa.field("event_date", pa.date32(), nullable=False),
        ]
    )


QUARANTINE_SCHEMA = pa.schema(
    [
        *[f.with_nullable(False) for f in ADDRESS],
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", HEADERS),
        pa.field("flow", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("contract_version", pa.int32(), nullable=False),
        pa.field("quarantined_at", TIME, nullable=False),
        pa.field("replayed_version", pa.int64()),
        pa.field("replayed_at", TIME),
        pa.field("batch_id", pa.int64()),
        pa.field("topic_id", pa.string()),
        *LEFT_OUT,
    ]
)
"""Which rows count as replayed: see :mod:`lakehouse.ingest.replayed`."""
