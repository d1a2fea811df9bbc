"""The report of orders: every section a SELECT over the lake.

An order is open until it is delivered or cancelled. How long it took is told of those alone of
which the lake has seen both ends: an order that a snapshot found delivered has no beginning.
"""

from __future__ import annotations

from lakehouse.explorer.report import Chart, LookUp, Series, quality

_MONEY = "AS DECIMAL(38,4))"
_OPEN = "order_status NOT IN ('delivered', 'cancelled')"
_RANK = "list_position(['placed', 'preparing', 'on_the_way', 'delivered', 'cancelled'], {0})"
_DAYS = "FROM silver.orders_by_day"
_RECENT = (
    f"{_DAYS} WHERE order_date > (SELECT max(order_date) {_DAYS}) - INTERVAL 90 DAY "
    "ORDER BY order_date"
)
_TOOK = """
    SELECT order_id, max(started_at) FILTER (order_status = 'delivered') AS delivered_at,
        epoch(max(started_at) FILTER (order_status = 'delivered')
            - min(started_at) FILTER (order_status = 'placed')) / 60 AS minutes
    FROM silver.orders_history WHERE order_status IN ('placed', 'delivered')
    GROUP BY order_id HAVING minutes IS NOT NULL"""
"""Minutes from placed to delivered, of each order that was seen in both."""


def _minutes(share: float) -> str:
    return f"CAST(quantile_cont(minutes, {share}) AS DECIMAL(18,1))"


TOTALS = f"""
    SELECT CAST(sum(orders) AS BIGINT) AS orders, CAST(sum(delivered) AS BIGINT) AS delivered,
        CAST(sum(cancelled) AS BIGINT) AS cancelled,
        CAST(sum(orders - delivered - cancelled) AS BIGINT) AS open,
        CAST(sum(revenue) {_MONEY} AS revenue,
        CAST(round(sum(amount) / sum(orders), 4) {_MONEY} AS average_order,
        min(order_date) AS first_day, max(order_date) AS last_day
    {_DAYS} HAVING count(*) > 0"""

STATUS = f"""
    SELECT order_status, count(*) AS orders, CAST(sum(amount) {_MONEY} AS amount,
        min(created_at) AS oldest, max(changed_at) AS last_change
    FROM silver.orders_current GROUP BY order_status
    ORDER BY {_RANK.format("order_status")}"""

DAYS = f"""
    SELECT order_date, orders, delivered, cancelled, revenue, average_order,
        revenue - lag(revenue) OVER (ORDER BY order_date) AS change
    {_DAYS} ORDER BY order_date DESC LIMIT 14"""
"""Against the day before that had orders."""

RESTAURANTS = """
    SELECT restaurant_name, orders, delivered, cancelled, revenue, average_order
    FROM silver.orders_by_restaurant ORDER BY revenue DESC, restaurant_name LIMIT 10"""

ITEMS = """
    SELECT item, orders, delivered, cancelled, revenue, average_order
    FROM silver.orders_by_item ORDER BY revenue DESC, item LIMIT 10"""

DELIVERY = f"""
    WITH banded AS (SELECT list_position([0, 15, 30, 45, 60, 90], list_last(list_filter(
            [0, 15, 30, 45, 60, 90], lambda least: least <= minutes))) AS band
        FROM ({_TOOK}))
    SELECT ['below 15 minutes', '15 to 30 minutes', '30 to 45 minutes', '45 to 60 minutes',
            '60 to 90 minutes', '90 minutes or more'][band] AS took,
        count(*) AS orders,
        CAST(100.0 * count(*) / sum(count(*)) OVER () AS DECIMAL(18,1)) AS percent
    FROM banded WHERE band IS NOT NULL GROUP BY band ORDER BY band"""

SLOWEST = f"""
    SELECT restaurant_name, count(*) AS delivered, {_minutes(0.5)} AS median_minutes,
        {_minutes(0.9)} AS p90_minutes, CAST(max(minutes) AS DECIMAL(18,1)) AS longest_minutes
    FROM ({_TOOK}) JOIN silver.orders_current USING (order_id)
    GROUP BY restaurant_name ORDER BY median_minutes DESC, restaurant_name LIMIT 10"""

STEPS = f"""
    WITH ended AS (SELECT order_status, duration_seconds / 60 AS minutes, ended_at
        FROM silver.orders_history)
    SELECT order_status, count(ended_at) AS ended, {_minutes(0.5)} AS median_minutes,
        {_minutes(0.9)} AS p90_minutes, count(*) FILTER (ended_at IS NULL) AS in_it_now
    FROM ended WHERE order_status <> 'deleted'
    GROUP BY order_status ORDER BY {_RANK.format("order_status")}"""

OPEN = f"""
    SELECT order_id, order_status, restaurant_name, item, amount, created_at, changed_at
    FROM silver.orders_current WHERE {_OPEN} ORDER BY created_at, order_id LIMIT 20"""

CORRECTIONS = """
    SELECT order_id, order_status, sum(len(changes))::BIGINT - count(*) AS kept_status,
        count(*) - 1 AS came_back, max(changes[-1].changed_at) AS last_change
    FROM silver.orders_history GROUP BY order_id, order_status
    HAVING sum(len(changes)) > 1 ORDER BY kept_status + came_back DESC, order_id, order_status
    LIMIT 20"""
"""Changes that left an order's status as it was, and returns to a status that it had left."""

CHANGES = """
    SELECT CASE op WHEN 'c' THEN 'created' WHEN 'u' THEN 'updated' WHEN 'd' THEN 'deleted'
            WHEN 'r' THEN 'read whole' ELSE 'tombstone' END AS change,
        count(*) AS records, min(event_time) AS first, max(event_time) AS last
    FROM bronze.orders WHERE NOT is_duplicate GROUP BY op ORDER BY records DESC, change"""

REPORT = {
    "orders_totals": TOTALS,
    "orders_status": STATUS,
    "orders_days": DAYS,
    "orders_restaurants": RESTAURANTS,
    "orders_items": ITEMS,
    "orders_delivery": DELIVERY,
    "orders_slowest": SLOWEST,
    "orders_steps": STEPS,
    "orders_open": OPEN,
    "orders_corrections": CORRECTIONS,
    "orders_changes": CHANGES,
    **quality("orders", "orders_"),
}
"""Section → SELECT, in order."""
TITLES = {
    "orders_totals": "orders: totals",
    "orders_status": "orders by status",
    "orders_days": "orders: the last days, against the day before",
    "orders_restaurants": "orders: restaurants by revenue",
    "orders_items": "orders: dishes by revenue",
    "orders_delivery": "orders: how long from placed to delivered",
    "orders_slowest": "orders: slowest restaurants, placed to delivered",
    "orders_steps": "orders: minutes in each status",
    "orders_open": "orders that are open, the oldest first",
    "orders_corrections": "orders that were corrected: changed within a status, or back in it",
    "orders_changes": "orders: changes captured, by kind",
    "orders_quality": "orders, data quality: late and duplicate events",
    "orders_late_and_doubled": "orders, late and duplicate events, by batch",
    "orders_quarantine": "orders, quarantine by verdict",
}
"""Section → its title."""
CHARTS = {
    "orders_status": Chart(("order_status",), "orders"),
    "orders_days": Chart(("order_date",), "revenue"),
    "orders_restaurants": Chart(("restaurant_name",), "revenue"),
    "orders_items": Chart(("item",), "revenue"),
    "orders_delivery": Chart(("took",), "orders"),
    "orders_slowest": Chart(("restaurant_name",), "median_minutes"),
    "orders_steps": Chart(("order_status",), "median_minutes"),
    "orders_open": Chart(("order_id", "restaurant_name"), "amount"),
    "orders_corrections": Chart(("order_id", "order_status"), "kept_status"),
    "orders_changes": Chart(("change",), "records"),
    "orders_late_and_doubled": Chart(("batch_id",), "late"),
    "orders_quarantine": Chart(("verdict",), "records"),
}
"""Section → its picture."""


def _newest_day(measure: str) -> str:
    """A measure of the newest day, and its change against the day before it."""
    return f"""
        WITH newest AS (SELECT max(order_date) AS day {_DAYS})
        SELECT now.{measure} AS value, strftime(now.order_date, '%d %b') AS moment,
            CAST(round(100 * (now.{measure} - before.{measure}) / nullif(before.{measure}, 0), 1)
                AS DECIMAL(18,1)) AS change_pct,
            now.order_date
        FROM silver.orders_by_day AS now JOIN newest ON now.order_date = newest.day
        LEFT JOIN silver.orders_by_day AS before ON before.order_date = now.order_date - 1"""


FIGURES = {
    "revenue": _newest_day("revenue"),
    "orders": _newest_day("orders"),
    "open orders": f"""
        SELECT count(*) AS value, 'oldest of ' || strftime(min(created_at), '%d %b %H:%M')
            AS moment
        FROM silver.orders_current WHERE {_OPEN}""",
    "placed to delivered": f"""
        SELECT {_minutes(0.5)} AS value, 'minutes' AS unit,
            'median of the last ' || count(*) || ' delivered' AS moment
        FROM (FROM ({_TOOK}) ORDER BY delivered_at DESC LIMIT 1000) HAVING count(*) > 0""",
}
SERIES = {
    "orders_revenue_by_day": Series(
        "revenue by day", f"SELECT order_date, revenue {_RECENT}", "order_date", ("revenue",)
    ),
    "orders_by_day": Series(
        "orders by day, those delivered and those cancelled",
        f"SELECT order_date, orders, delivered, cancelled {_RECENT}",
        "order_date", ("orders", "delivered", "cancelled"),
    ),
}  # fmt: skip
"""Name → picture over time."""
LOOK_UPS = {
    "order": LookUp(
        "one food order, field by field",
        "SELECT * FROM silver.orders_current WHERE order_id = TRY_CAST('{0}' AS BIGINT)",
        "order_id",
    )
}
