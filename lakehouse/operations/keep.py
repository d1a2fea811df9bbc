"""The audit's own table: one row per audit, so that trust has a history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa

from lakehouse.audit.proof import Proof
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake
from lakehouse.core.text import as_json
from lakehouse.settings.settings import Settings
from lakehouse.storage.table import Table

SCHEMA = pa.schema(
    [
        pa.field("audited_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("reasons", pa.list_(pa.string())),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("topic_id", pa.string(), nullable=False),
        pa.field("bronze_version", pa.int64(), nullable=False),
        pa.field("quarantine_version", pa.int64()),
        *[
            pa.field(name, pa.int64(), nullable=False)
            for name in (
                "bronze", "quarantine", "missing", "doubled", "aborted", "markers", "expired",
                "unknown", "late", "duplicates", "silver_tables", "silver_differing",
            )
        ],
        pa.field("details", pa.string(), nullable=False),
    ]
)  # fmt: skip
"""``details`` is the whole proof as JSON, as ``lakehouse audit --json`` prints it."""


def keep(proof: Proof, settings: Settings) -> int:
    """Add the proof to ``audit.<product>``; the version that holds it.

    Not deduplicated: an audit run again is another audit, at another time.
    """
    name = f"audit.{proof.product}"
    lake = Lake(settings.lake.root)
    with write_locks(lake.locks, [name], name, timedelta(seconds=10)):
        description = f"audits of {proof.product}, one a row"
        table = Table.open(lake.table(name), SCHEMA, settings, description=description)
        note = {"flow": f"{proof.product}.audit", "verdict": proof.verdict.value}
        return table.append(pa.Table.from_pylist([_row(proof)], SCHEMA), note)


def _row(proof: Proof) -> dict[str, Any]:
    totals = ("bronze", "quarantine", "missing", "doubled", "aborted", "markers", "expired",
              "unknown")  # fmt: skip
    silver = [table for table in proof.tables if table.table.startswith("silver.")]
    return {
        "audited_at": proof.audited_at,
        "verdict": proof.verdict.value,
        "reasons": [*proof.faults, *proof.doubts],
        "topic": proof.topic,
        "topic_id": proof.topic_id,
        "bronze_version": proof.bronze_version,
        "quarantine_version": proof.quarantine_version,
        **{name: proof.account.total(name) for name in totals},
        "late": proof.flags.late.count,
        "duplicates": proof.flags.duplicates.count,
        "silver_tables": len(silver),
        "silver_differing": sum(table.differing for table in silver),
        "details": as_json(proof.as_dict()),
    }
