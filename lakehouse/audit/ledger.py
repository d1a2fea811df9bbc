"""The ledger of late and duplicate events against a recount from bronze that is written apart."""

from __future__ import annotations

from lakehouse.audit.compare import Compared, compare
from lakehouse.audit.pins import Pin, Snapshots
from lakehouse.model.recompute import Recompute

_COUNTED = "SELECT * FROM bronze_then WHERE true"
_RECOUNT = Recompute(
    "ledger",
    ("batch_id",),
    """
    WITH said AS (SELECT batch_id, max(bronze_version) AS bronze_version FROM held GROUP BY ALL)
    SELECT counted.batch_id, said.bronze_version,
        any_value(ingest_time) AS ingest_time, any_value(watermark) AS watermark,
        count(*) AS rows, count_if(is_late) AS late, count_if(is_duplicate) AS duplicates,
        date_diff('microsecond', min(event_time) FILTER (is_late), any_value(watermark))
            AS most_late_us,
        min(event_time) FILTER (is_late) AS first_late,
        max(event_time) FILTER (is_late) AS last_late
    FROM counted LEFT JOIN said ON said.batch_id = counted.batch_id
    GROUP BY counted.batch_id, said.bronze_version
    HAVING count_if(is_late) + count_if(is_duplicate) > 0
    """,
)
"""Bronze's rows do not say which version brought them: what the ledger says is taken."""


def compare_ledger(snapshots: Snapshots, product: str, bronze: Pin) -> Compared:
    """The ledger and its recount at its applied version of bronze."""
    return compare(snapshots, f"ledger.{product}", _COUNTED, _RECOUNT, bronze)
