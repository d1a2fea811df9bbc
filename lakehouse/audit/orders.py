"""What the silver tables of orders must hold, as SQL over bronze: the audit's own words.

Each statement reads ``counted``, the rows of bronze that are not duplicates, and is
written apart from the fold that makes the tables: it looks at all changes at once.
"""

from __future__ import annotations

from lakehouse.audit.recompute import WHOLE, Recompute

COUNTED = "SELECT *, (order_id // 20000) % 256 AS block FROM bronze_then WHERE NOT is_duplicate"
_NOW = """
    SELECT DISTINCT order_id, customer_name, restaurant_name, item, amount, order_status,
        created_at, event_time AS changed_at, sequence, block
    FROM counted AS c
    WHERE op IN ('c', 'u', 'r') AND sequence = (
        SELECT max(later.sequence) FROM counted AS later
        WHERE later.order_id = c.order_id AND later.op <> 't'
    )
"""
CURRENT = _NOW
HISTORY = """
WITH steps AS (
    SELECT DISTINCT order_id, block, sequence, event_time,
        CASE op WHEN 'd' THEN 'deleted' ELSE order_status END AS order_status
    FROM counted WHERE op <> 't'
), counted_off AS (
    SELECT *, row_number() OVER (PARTITION BY order_id ORDER BY sequence) AS n,
        row_number() OVER (PARTITION BY order_id, order_status ORDER BY sequence) AS m
    FROM steps
), reached AS (
    SELECT a.order_id, a.n, max(b.event_time) AS started_at
    FROM counted_off AS a JOIN counted_off AS b ON a.order_id = b.order_id AND b.n <= a.n
    GROUP BY ALL
), islands AS (
    SELECT order_id, block, order_status, min(n) AS n,
        array_agg({'sequence': sequence, 'changed_at': event_time} ORDER BY sequence) AS changes
    FROM counted_off GROUP BY order_id, block, order_status, n - m
), timed AS (
    SELECT *, lead(started_at) OVER (PARTITION BY order_id ORDER BY n) AS ended_at
    FROM islands JOIN reached USING (order_id, n)
)
SELECT order_id, order_status, started_at, ended_at,
    CAST(epoch(ended_at - started_at) AS DECIMAL(18, 3)) AS duration_seconds, changes, block
FROM timed
"""
# Whole ten-thousandths, divided as whole numbers: half of one is rounded up.
_BY = """
WITH now AS ({now}), sums AS (
    SELECT {key},
        count(*) AS orders,
        count(*) FILTER (order_status = 'delivered') AS delivered,
        count(*) FILTER (order_status = 'cancelled') AS cancelled,
        CAST(sum(amount) AS DECIMAL(38, 4)) AS amount,
        CAST(coalesce(sum(amount) FILTER (order_status <> 'cancelled'), 0) AS DECIMAL(38, 4))
            AS revenue
    FROM now GROUP BY ALL
)
SELECT *, CAST(CAST(
    {whole} // orders
    + CASE WHEN 2 * ({whole} % orders) >= orders THEN 1 ELSE 0 END
    AS DECIMAL(38, 0)) * 0.0001 AS DECIMAL(38, 4)) AS average_order
FROM sums
"""


def _by(key: str) -> str:
    return _BY.format(now=_NOW, key=key, whole=WHOLE.format("amount"))


RECOMPUTES = (
    Recompute("by_restaurant", ("restaurant_name",), _by("restaurant_name")),
    Recompute("by_item", ("item",), _by("item")),
    Recompute("by_day", ("order_date",), _by("CAST(created_at AS DATE) AS order_date")),
    Recompute("history", ("order_id", "started_at"), HISTORY),
    Recompute("current", ("order_id",), CURRENT),
)
"""Every silver table of orders."""
