"""Late and duplicate events: counted, listed, and their marks in bronze computed again.

Written apart from what lands records, from the rulings alone: an event is late
when it is older than the watermark that its row records; a record is a copy when
its event_id came before, in landing order, within the deduplication horizon that
its batch recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.audit.pins import count
from lakehouse.audit.topic import SAMPLE
from lakehouse.ingest.ends import Rule
from lakehouse.storage.duck import query

_COPIES = """
CREATE OR REPLACE TEMP TABLE copies AS
WITH repeated AS (
    SELECT hash(event_id) AS id_hash FROM bronze GROUP BY id_hash HAVING count(*) > 1
), landed AS (
    SELECT event_id, topic, "partition", "offset", batch_id, kafka_time, is_duplicate,
        {horizon} AS horizon, row_number() OVER (
            PARTITION BY event_id ORDER BY batch_id, kafka_time, "partition", "offset"
        ) AS place
    FROM bronze WHERE hash(event_id) IN (SELECT id_hash FROM repeated)
)
SELECT *, place > min(place) OVER (
    PARTITION BY event_id ORDER BY epoch_us(kafka_time)
    RANGE BETWEEN horizon PRECEDING AND horizon FOLLOWING
) AS is_copy FROM landed
"""
_PLACE = 'topic, "partition", "offset", batch_id'
_ROW = '"partition", "offset", event_id, event_time, kafka_time, watermark'
_SHORT = '"partition", "offset", event_id, kafka_time'
LATE = f"SELECT {_ROW} FROM bronze WHERE is_late"
WRONG_LATE = f"""
SELECT {_ROW}, is_late AS marked FROM bronze
WHERE is_late IS DISTINCT FROM coalesce(event_time < watermark, false)
"""
DUPLICATES = f"SELECT {_SHORT} FROM bronze WHERE is_duplicate"
WRONG_DUPLICATES = f"""
SELECT {_SHORT}, is_duplicate AS marked FROM copies WHERE is_duplicate <> is_copy
UNION ALL
SELECT {_SHORT}, true FROM bronze ANTI JOIN copies USING ({_PLACE})
WHERE is_duplicate
"""
_IS_LATE = "coalesce(bronze.event_time < bronze.watermark, false)"
_IS_COPY = "coalesce(copies.is_copy, false)"
_WRONG = f"""
SELECT DISTINCT event_date, {_PLACE}, {_IS_LATE} AS is_late, {_IS_COPY} AS is_duplicate,
    bronze.is_late <> {_IS_LATE} AS late_was_wrong,
    bronze.is_duplicate <> {_IS_COPY} AS duplicate_was_wrong
FROM bronze LEFT JOIN copies USING ({_PLACE})
WHERE bronze.is_late <> {_IS_LATE} OR bronze.is_duplicate <> {_IS_COPY}
ORDER BY ALL
"""
BEYOND_HORIZON = """
SELECT event_id, count(*) AS times_counted, min(kafka_time) AS first, max(kafka_time) AS last
FROM copies WHERE NOT is_duplicate GROUP BY event_id HAVING count(*) > 1
"""


@dataclass(frozen=True)
class Listed:
    """How many there are, and the first of them."""

    count: int
    first: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Flags:
    """Late and duplicate events as bronze marks them, and where a mark is wrong."""

    late: Listed
    duplicates: Listed
    beyond_horizon: Listed
    """Events that count more than once: their copies lie further apart than the horizon."""
    wrong_late: Listed
    wrong_duplicates: Listed

    @classmethod
    def unknown(cls) -> Flags:
        """Nothing counted: the rows could not be read."""
        return cls(*[Listed(0, ())] * 5)


def flags(connection: duckdb.DuckDBPyConnection, rules: Sequence[Rule]) -> Flags:
    """Count and check the marks of the view ``bronze``, each batch by its own rule."""
    connection.execute(_COPIES.format(horizon=_horizon(rules)))
    statements = (LATE, DUPLICATES, BEYOND_HORIZON, WRONG_LATE, WRONG_DUPLICATES)
    found = [_listed(connection, statement) for statement in statements]
    connection.execute("DROP TABLE copies")
    return Flags(*found)


def right_marks(connection: duckdb.DuckDBPyConnection, rules: Sequence[Rule]) -> pa.Table:
    """The address of each row of the view ``bronze`` that is marked wrongly, and its marks."""
    connection.execute(_COPIES.format(horizon=_horizon(rules)))
    found = query(connection, _WRONG)
    connection.execute("DROP TABLE copies")
    return found


def _horizon(rules: Sequence[Rule]) -> str:
    """SQL for the horizon of a row's batch, in µs."""
    newer = [f"WHEN batch_id >= {rule.batch} THEN {rule.horizon}" for rule in rules[:0:-1]]
    return f"CASE {' '.join(newer)} ELSE {rules[0].horizon} END" if newer else str(rules[0].horizon)


def _listed(connection: duckdb.DuckDBPyConnection, statement: str) -> Listed:
    found = count(connection, f"({statement})")
    if not found:
        return Listed(0, ())
    first = query(connection, f"SELECT * FROM ({statement}) ORDER BY ALL LIMIT {SAMPLE}")
    return Listed(found, tuple(first.to_pylist()))
