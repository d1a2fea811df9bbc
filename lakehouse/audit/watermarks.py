"""The watermark that each row records, against the events of the batches before its own.

A batch's watermark is the newest event time of all earlier batches, less the delay that
the batch recorded. It does not go back where a delay is raised, but did in earlier releases:
after that it may be the greatest by an earlier delay too. Rows that were erased may have
held the newest event: after them it may be later than what is left says. The newest event
of all is in bronze's ends, from which the next watermark is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from lakehouse.audit.check import Check, Scene
from lakehouse.audit.topic import SAMPLE
from lakehouse.ingest.ends import Rule
from lakehouse.storage.duck import query

_BATCHES = """
CREATE OR REPLACE TEMP TABLE batches AS
WITH landed AS (
    SELECT batch_id, count(*) AS rows, max(event_time) AS newest, min(watermark) AS watermark,
        max(watermark) > min(watermark) OR count(watermark) NOT IN (0, count(*)) AS differs,
        {delay} AS delay
    FROM bronze GROUP BY batch_id
), gone AS (
    {gone}
), known AS (
    SELECT *, max(newest) OVER (
        ORDER BY batch_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS before FROM landed
)
SELECT *, before - to_microseconds(delay) AS expected,
    (SELECT max(mark) FROM ({earlier}) WHERE last < batch_id) AS passed,
    coalesce((SELECT batch FROM gone) < batch_id, false) AS may_be_later
FROM known
"""
_ERASED = """
SELECT min(coalesce(batch_id, -1)) AS batch FROM erased WHERE "table" = 'bronze.{product}'
"""
_EARLIER = """
SELECT last, (SELECT max(newest) FROM landed WHERE landed.batch_id <= last)
    - to_microseconds(delay) AS mark
FROM (VALUES {rules}) AS rules(last, delay)
"""
_NONE_ERASED = "SELECT CAST(NULL AS BIGINT) AS batch"
_WRONG = """
SELECT batch_id, rows, watermark, expected FROM batches WHERE CASE
    WHEN differs THEN true
    WHEN may_be_later THEN watermark IS NULL AND before IS NOT NULL OR watermark < expected
    WHEN watermark IS NULL OR before IS NULL THEN watermark IS NOT NULL OR before IS NOT NULL
    WHEN delay IS NULL THEN watermark > before
    ELSE watermark NOT IN (expected, greatest(expected, passed))
END
"""


def watermarks(scene: Scene) -> Check:
    """Each batch of the view ``bronze``, its watermark computed again."""
    connection, product = scene.snapshots.connection, scene.product
    is_erased = scene.snapshots.exists(f"erased.{product}")
    gone = _ERASED.format(product=product) if is_erased else _NONE_ERASED
    delay, earlier = _delay(scene.ends.rules), _earlier(scene.ends.rules)
    connection.execute(_BATCHES.format(delay=delay, gone=gone, earlier=earlier))
    [(wrong, batches, unknown)] = connection.execute(
        f"SELECT coalesce(sum(rows), 0), count(*), (SELECT count(*) FROM batches "
        f"WHERE delay IS NULL) FROM ({_WRONG})"
    ).fetchall()
    [(newest, is_less)] = connection.execute(
        f"SELECT max(newest), (SELECT batch IS NOT NULL FROM ({gone})) FROM batches"
    ).fetchall()
    first = query(connection, f"{_WRONG} ORDER BY batch_id LIMIT {SAMPLE}").to_pylist()
    connection.execute("DROP TABLE batches")
    fault = f"{wrong:,} rows of {batches:,} batches record another watermark than their batch had"
    faults = [fault] * bool(wrong)
    told = scene.ends.newest
    is_erased = is_less and told is not None and (newest is None or told > newest)
    if scene.ends.next and told != newest and not (is_erased or scene.ends.is_from_rows):
        faults.append(
            f"bronze's ends record {told or 'no time'} as the newest event, "
            f"and its rows have {newest or 'none'}"
        )
    return Check(
        "batches whose watermark is wrong",
        faults=tuple(faults),
        counts={"batches that did not record by which delay they were marked": int(unknown)},
        first=tuple(first),
    )


def _delay(rules: Sequence[Rule]) -> str:
    """SQL for the delay of a row's batch in µs; null where it was not recorded."""
    known = [
        f"WHEN batch_id >= {rule.batch} THEN {'NULL' if rule.delay is None else rule.delay}"
        for rule in reversed(rules)
    ]
    return f"CAST(CASE {' '.join(known)} END AS BIGINT)" if known else "CAST(NULL AS BIGINT)"


def _earlier(rules: Sequence[Rule]) -> str:
    """SQL for the last batch by each delay but the newest, and its watermark."""
    ended = [
        f"({after.batch - 1}, CAST({'NULL' if rule.delay is None else rule.delay} AS BIGINT))"
        for rule, after in pairwise(rules)
    ]
    return _EARLIER.format(rules=", ".join(ended or ["(NULL, CAST(NULL AS BIGINT))"]))
