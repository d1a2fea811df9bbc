"""How many records of quarantine are too large, so that their bytes are left out."""

from __future__ import annotations

from lakehouse.audit.addresses import with_columns
from lakehouse.audit.check import Check, Scene
from lakehouse.audit.pins import Pin, count
from lakehouse.ingest.left_out import LEFT_OUT

NAME = "records whose bytes are left out"
COUNTED = "quarantined records without their bytes, which are beyond [bronze] max_record_mb"
_TYPES = ("BIGINT", "VARCHAR")


def left_out(scene: Scene) -> Check:
    """Counts them; their size and hash are compared with Kafka's bytes as content is."""
    if scene.quarantine is None:
        return Check(NAME)
    rows = f"({all_quarantine(scene.quarantine)}) WHERE {scene.ends.are_of_now(by_id=True)}"
    connection = scene.snapshots.connection
    return Check(
        NAME, counts={COUNTED: count(connection, f"{rows} AND left_out_bytes IS NOT NULL")}
    )


def all_quarantine(pin: Pin) -> str:
    """SQL for quarantine's rows with all columns, null in a table of an earlier release."""
    added = [
        f", CAST(NULL AS {kind}) AS {field.name}"
        for field, kind in zip(LEFT_OUT, _TYPES, strict=True)
        if field.name not in pin.columns
    ]
    return f"SELECT *{''.join(added)} FROM ({with_columns(pin, 'all_quarantine')})"
