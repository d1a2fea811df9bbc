"""Rows at offsets that Kafka never gave: below 0, or at a partition's end and above."""

from __future__ import annotations

import pyarrow as pa

from lakehouse.audit.check import Check, Scene
from lakehouse.audit.pins import count
from lakehouse.audit.topic import SAMPLE
from lakehouse.storage.duck import lent, query

_ROWS = """
SELECT '{table}' AS "table", "partition", "offset" FROM {table} LEFT JOIN kafka USING ("partition")
WHERE topic = $topic AND {now} AND ("offset" < 0 OR "offset" >= "end")
"""


def outside_the_topic(scene: Scene) -> Check:
    """No row may have such an offset, however much content is compared."""
    name = "rows at offsets that Kafka never gave"
    connection, topic = scene.snapshots.connection, scene.topic
    ranges = topic.ranges if topic else {}
    kafka = pa.table(
        {
            "partition": pa.array(list(ranges), pa.int32()),
            "end": pa.array([end for _, end in ranges.values()], pa.int64()),
        }
    )
    faults, first = [], []
    with lent(connection, kafka=kafka):
        for table in ("bronze", "quarantine"):
            now = scene.ends.are_of_now(by_id=table == "quarantine")
            sql = _ROWS.format(table=table, now=now)
            named = {"topic": scene.ends.topic}
            if rows := count(connection, f"({sql})", named):
                faults.append(f"{rows:,} rows of {table} are at offsets that Kafka never gave")
                first += query(connection, f"{sql} ORDER BY ALL LIMIT {SAMPLE}", named).to_pylist()
    return Check(name, tuple(faults), first=tuple(first[:SAMPLE]))
