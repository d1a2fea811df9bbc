"""What is derived when it is read: recency, tiers, RFM, change against the period before.

Each is a SELECT over the silver tables; ``as_of`` is a TIMESTAMPTZ expression
that defaults to the latest event.
"""

from __future__ import annotations

TIERS = (("platinum", 10_000), ("gold", 2_500), ("silver", 500), ("bronze", 0))
"""Loyalty tier → least net revenue, in the client's currency."""
LATEST = "(SELECT max(last_sale) FROM silver.sales_by_country)"


def clients(as_of: str = LATEST) -> str:
    """Clients with recency in days, RFM scores 1 to 5 (5 best, by currency), and tier."""
    tiers = " ".join(f"WHEN net_revenue >= {least} THEN '{tier}'" for tier, least in TIERS)
    return f"""
        WITH scored AS (
            SELECT *, date_diff('day', last_sale, {as_of}) AS recency_days,
                6 - ntile(5) OVER (PARTITION BY currency ORDER BY last_sale DESC) AS r,
                6 - ntile(5) OVER (PARTITION BY currency ORDER BY orders DESC, client_id) AS f,
                6 - ntile(5) OVER (PARTITION BY currency ORDER BY net_revenue DESC, client_id) AS m
            FROM silver.sales_by_client WHERE client_id <> '' AND orders > 0)
        SELECT client_id, currency, orders, net_revenue, average_basket, favourite_product,
            first_sale, last_sale, recency_days, r || '' || f || m AS rfm,
            CASE WHEN r >= 4 AND f >= 4 AND m >= 4 THEN 'champion'
                 WHEN r >= 3 AND f >= 3 THEN 'loyal'
                 WHEN r >= 4 THEN 'new or returning'
                 WHEN f >= 3 OR m >= 4 THEN 'at risk'
                 ELSE 'hibernating' END AS rfm_segment,
            CASE {tiers} ELSE 'none' END AS tier
        FROM scored"""


def trends() -> str:
    """Trends with the period before: its revenue, the change, and the change in percent."""
    step = "CASE cur.grain WHEN 'hour' THEN INTERVAL 1 HOUR WHEN 'day' THEN INTERVAL 1 DAY "
    step += "WHEN 'week' THEN INTERVAL 7 DAY ELSE INTERVAL 1 MONTH END"
    return f"""
        SELECT cur.grain, cur.period_start, cur.dimension, cur.value, cur.currency, cur.orders,
            cur.lines, cur.units, cur.net_revenue, was.net_revenue AS previous_net_revenue,
            cur.net_revenue - was.net_revenue AS change,
            CASE WHEN was.net_revenue > 0 THEN
                CAST(round(100 * CAST(cur.net_revenue - was.net_revenue AS DOUBLE)
                    / CAST(was.net_revenue AS DOUBLE), 1) AS DECIMAL(12,1)) END AS change_pct
        FROM silver.sales_trends AS cur LEFT JOIN silver.sales_trends was
            ON was.grain = cur.grain AND was.dimension = cur.dimension AND was.value = cur.value
            AND was.currency = cur.currency AND was.period_start = cur.period_start - {step}"""


VIEWS = {"clients": clients(), "trends": trends()}
"""Name → SELECT: free SQL may use them as tables."""

_SHARED = "currency, orders, lines, units, gross_revenue, returns, net_revenue"
REPORT = {
    "totals": """SELECT currency, sum(orders) AS orders, sum(lines) AS lines, sum(units) AS units,
        sum(gross_revenue) AS gross_revenue, sum(returns) AS returns,
        sum(net_revenue) AS net_revenue, min(first_sale) AS first_sale,
        max(last_sale) AS last_sale FROM silver.sales_by_country GROUP BY 1 ORDER BY 1""",
    "countries": f"""SELECT country, {_SHARED}, clients, average_basket
        FROM silver.sales_by_country ORDER BY net_revenue DESC LIMIT 15""",
    "segments": f"""SELECT segment, {_SHARED}, clients, average_basket
        FROM silver.sales_by_segment ORDER BY currency, segment""",
    "clients": """SELECT client_id, currency, orders, net_revenue, average_basket,
        favourite_product, recency_days, rfm, rfm_segment, tier
        FROM clients ORDER BY net_revenue DESC, client_id LIMIT 10""",
    "tiers": """SELECT currency, tier, count(*) AS clients, sum(net_revenue) AS net_revenue
        FROM clients GROUP BY 1, 2 ORDER BY 1, 4 DESC""",
    "months": """SELECT strftime(period_start, '%Y-%m') AS month, currency, orders, net_revenue,
        previous_net_revenue, change, change_pct FROM trends
        WHERE grain = 'month' AND dimension = 'all'
        ORDER BY currency, period_start DESC LIMIT 24""",
    "days": """SELECT CAST(period_start AS DATE) AS day, currency, orders, net_revenue, change,
        change_pct FROM trends WHERE grain = 'day' AND dimension = 'all'
        QUALIFY rank() OVER (ORDER BY period_start DESC) <= 7 ORDER BY 1 DESC, 2""",
    "products": """SELECT product_id, max(product_name) AS product_name, currency,
        sum(units) AS units, sum(net_revenue) AS net_revenue FROM silver.sales_product_trends
        WHERE grain = 'month' GROUP BY product_id, currency ORDER BY net_revenue DESC LIMIT 10""",
    "quality": """SELECT 'bronze' AS where_, count(*) AS records, count(*) FILTER (is_late) AS late,
        count(*) FILTER (is_duplicate) AS duplicates, min(event_time) AS first_event,
        max(event_time) AS last_event FROM bronze.sales""",
    "quarantine": """SELECT verdict, count(*) AS records, min(address) AS an_address,
        any_value(bytes) AS its_value FROM (
            SELECT regexp_replace(split_part(verdict, ':', 1), '[0-9]+', 'N', 'g') AS verdict,
                "partition" || ':' || "offset" AS address,
                CAST(value AS VARCHAR)[:50] AS bytes FROM quarantine.sales)
        GROUP BY 1 ORDER BY 2 DESC, 1""",
}
"""Section → SELECT of the batch report, in order."""
