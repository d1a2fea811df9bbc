"""What the audit asks of orders besides: no change counts twice."""

from __future__ import annotations

from lakehouse.audit.check import Check, Scene
from lakehouse.audit.pins import count
from lakehouse.products.orders.against.source import source

_TWICE = "(SELECT event_id FROM bronze WHERE NOT is_duplicate GROUP BY ALL HAVING count(*) > 1)"


def changes(scene: Scene) -> Check:
    """A change that is sent again later than the horizon would be in Parquet twice."""
    twice = count(scene.snapshots.connection, _TWICE)
    fault = f"{twice:,} changes count twice: raise [{scene.product}] deduplication_horizon"
    return Check("changes", (fault,) if twice else ())


CHECKS = {"changes": changes}
SOURCE = source
