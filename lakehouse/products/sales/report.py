"""The report of sales: every section a SELECT over the lake and the derived views.

Currencies are never added up nor ranked against each other: lists are the first
of each currency, and currencies stand by their number of lines.
"""

from __future__ import annotations

from lakehouse.core.sql import ten_thousandths
from lakehouse.explorer.report import Chart, LookUp, Series, quality
from lakehouse.products.sales.views import TIERS, clients, percent, trends

BLOCKS = "▁▂▃▄▅▆▇█"
_TIER_LIST = ", ".join(f"'{tier}'" for tier, _ in TIERS)
_FIRST = "QUALIFY row_number() OVER (PARTITION BY currency ORDER BY net_revenue DESC, {0}) <= {1}"
_BIG = "sum(lines) OVER (PARTITION BY currency) DESC, currency, net_revenue DESC"

TOTALS = """
    SELECT t.currency, o.orders, t.lines, t.units, t.gross_revenue, t.returns, t.net_revenue,
        t.last_sale
    FROM (SELECT currency, sum(lines) AS lines, sum(units) AS units,
              CAST(sum(gross_revenue) AS DECIMAL(38,4)) AS gross_revenue,
              CAST(sum(returns) AS DECIMAL(38,4)) AS returns,
              CAST(sum(net_revenue) AS DECIMAL(38,4)) AS net_revenue,
              max(last_sale) AS last_sale
          FROM silver.sales_by_country GROUP BY currency) t
    LEFT JOIN (SELECT currency, count(DISTINCT order_id) AS orders
               FROM silver.sales_orders GROUP BY currency) o USING (currency)
    ORDER BY t.lines DESC, t.currency"""
"""An order of two countries counts once here, so the orders are counted again."""

COUNTRIES = f"""
    SELECT country, currency, orders, units, returns, net_revenue, clients, average_basket
    FROM silver.sales_by_country {_FIRST.format("country", 10)} ORDER BY {_BIG}, country"""

SEGMENTS = """
    SELECT segment, currency, orders, units, returns, net_revenue, clients, average_basket
    FROM silver.sales_by_segment
    ORDER BY sum(lines) OVER (PARTITION BY currency) DESC, currency, segment"""

TOP_CLIENTS = f"""
    SELECT client_id, currency, orders, net_revenue, recency_days, rfm, rfm_segment, tier
    FROM clients JOIN (
        SELECT currency, sum(orders) AS of_currency, list_last(max(net_revenue, 5)) AS least
        FROM silver.sales_by_client WHERE client_id <> '' GROUP BY currency) USING (currency)
    WHERE net_revenue >= least {_FIRST.format("client_id", 5)}
    ORDER BY of_currency DESC, currency, net_revenue DESC, client_id"""

TIER_COUNTS = f"""
    SELECT currency, tier, count(*) AS clients,
        CAST(sum(net_revenue) AS DECIMAL(38,4)) AS net_revenue,
        max(CASE tier {" ".join(f"WHEN '{t}' THEN {n}" for t, n in TIERS)} END) AS from_net_revenue
    FROM clients GROUP BY currency, tier
    ORDER BY sum(count(*)) OVER (PARTITION BY currency) DESC, currency,
        list_position([{_TIER_LIST}, 'none'], tier)"""

RFM = """
    SELECT rfm_segment, currency, count(*) AS clients,
        CAST(sum(net_revenue) AS DECIMAL(38,4)) AS net_revenue,
        CAST(avg(recency_days) AS INTEGER) AS mean_recency_days
    FROM clients GROUP BY rfm_segment, currency
    ORDER BY sum(count(*)) OVER (PARTITION BY currency) DESC, currency, net_revenue DESC"""

MONTHS = """
    SELECT strftime(period_start, '%Y-%m') AS month, currency, orders, net_revenue,
        previous_net_revenue, change, change_pct
    FROM trends WHERE grain = 'month' AND dimension = 'all'
    QUALIFY row_number() OVER (PARTITION BY currency ORDER BY period_start DESC) <= 6
    ORDER BY sum(lines) OVER (PARTITION BY currency) DESC, currency, period_start DESC"""

DAYS = """
    SELECT CAST(period_start AS DATE) AS day, currency, orders, net_revenue,
        previous_net_revenue, change, change_pct
    FROM trends WHERE grain = 'day' AND dimension = 'all'
    QUALIFY dense_rank() OVER (ORDER BY period_start DESC) <= 3
    ORDER BY day DESC, lines DESC, currency"""

SHAPE = f"""
    WITH days AS (SELECT currency, CAST(period_start AS DATE) AS day, lines, net_revenue
                  FROM silver.sales_trends WHERE grain = 'day' AND dimension = 'all'),
    span AS (SELECT CAST(unnest(generate_series(max(day) - INTERVAL 29 DAY, max(day),
                 INTERVAL 1 DAY)) AS DATE) AS day FROM days),
    recent AS (SELECT days.* FROM days JOIN span USING (day)),
    tops AS (SELECT currency, max(net_revenue) AS top, sum(lines) AS lines FROM recent GROUP BY 1)
    SELECT currency, min(day) AS from_day, max(day) AS to_day, max(top) AS best_day,
        string_agg(CASE WHEN net_revenue IS NULL THEN '·' WHEN net_revenue <= 0 THEN '▁'
            ELSE substr('{BLOCKS}', 1 + CAST({ten_thousandths("net_revenue")} * 7
                // {ten_thousandths("top")} AS INTEGER), 1) END, '' ORDER BY day)
            AS net_revenue_by_day
    FROM tops CROSS JOIN span LEFT JOIN recent USING (currency, day)
    GROUP BY currency ORDER BY max(tops.lines) DESC, currency"""
"""A bar a day for 30 days: the highest is the currency's best day, a dot a day without sales."""

PRODUCTS = f"""
    SELECT product_id, product_name, currency, units, returns, net_revenue
    FROM (SELECT product_id, max(product_name) AS product_name, currency, sum(units) AS units,
              sum(lines) AS lines, CAST(sum(returns) AS DECIMAL(38,4)) AS returns,
              CAST(sum(net_revenue) AS DECIMAL(38,4)) AS net_revenue
          FROM silver.sales_product_trends WHERE grain = 'month' GROUP BY product_id, currency)
    {_FIRST.format("product_id", 5)} ORDER BY {_BIG}, product_id"""

REPORT = {
    "totals": TOTALS,
    "countries": COUNTRIES,
    "segments": SEGMENTS,
    "clients": TOP_CLIENTS,
    "tiers": TIER_COUNTS,
    "rfm": RFM,
    "months": MONTHS,
    "days": DAYS,
    "last_30_days": SHAPE,
    "products": PRODUCTS,
    **quality("sales"),
}
"""Section → SELECT, in order."""
TITLES = {
    "totals": "totals by currency",
    "segments": "segments: B2B and B2C",
    "clients": "top clients: recency, RFM, tier",
    "tiers": "loyalty tiers",
    "rfm": "RFM segments",
    "months": "months, against the month before",
    "days": "last days, against the day before",
    "last_30_days": "the last 30 days, drawn",
    "products": "top products",
    "quality": "data quality: late and duplicate events",
    "late_and_doubled": "late and duplicate events, by batch",
    "quarantine": "quarantine, by verdict",
}
"""Section → its title, where the section's name does not say it all."""
CHARTS = {
    "totals": Chart(("currency",), "orders"),
    "countries": Chart(("country", "currency"), "net_revenue", "currency"),
    "segments": Chart(("segment", "currency"), "net_revenue", "currency"),
    "clients": Chart(("client_id", "currency"), "net_revenue", "currency"),
    "tiers": Chart(("tier", "currency"), "clients", "currency"),
    "rfm": Chart(("rfm_segment", "currency"), "clients", "currency"),
    "months": Chart(("month", "currency"), "net_revenue", "currency"),
    "days": Chart(("day", "currency"), "net_revenue", "currency"),
    "products": Chart(("product_name", "currency"), "net_revenue", "currency"),
    "late_and_doubled": Chart(("batch_id",), "late"),
    "quarantine": Chart(("verdict",), "records"),
}
"""Section → its picture. Amounts of two currencies are never on one scale."""

_HOURS = "FROM silver.sales_trends WHERE grain = 'hour' AND dimension = 'all'"
_DAYS = _HOURS.replace("hour", "day")
_LARGE = f"currency IN (SELECT currency {_DAYS} GROUP BY 1 ORDER BY sum(lines) DESC, 1 LIMIT 3)"
"""The three currencies with the most lines."""


def _last_24_hours(measure: str, kind: str) -> str:
    """A measure of the newest 24 hours by currency, and its change against the 24 before."""
    return f"""
        WITH newest AS (SELECT max(period_start) AS upto {_HOURS}),
        spans AS (SELECT currency, upto, sum(lines) AS lines,
                CAST(coalesce(sum({measure}) FILTER (period_start > upto - INTERVAL 24 HOUR), 0)
                    AS DECIMAL(38,4)) AS now,
                CAST(coalesce(sum({measure}) FILTER (period_start <= upto - INTERVAL 24 HOUR), 0)
                    AS DECIMAL(38,4)) AS before
            FROM silver.sales_trends CROSS JOIN newest WHERE grain = 'hour' AND dimension = 'all'
                AND period_start > upto - INTERVAL 48 HOUR GROUP BY ALL)
        SELECT CAST(now AS {kind}) AS value, currency AS unit,
            '24 hours to ' || strftime(upto + INTERVAL 1 HOUR, '%d %b %H:%M') AS moment,
            {percent("(now - before)", "before")} AS change_pct,
            currency, upto - INTERVAL 23 HOUR AS since, upto + INTERVAL 1 HOUR AS upto
        FROM spans ORDER BY lines DESC, currency LIMIT 3"""


FIGURES = {
    "net revenue": _last_24_hours("net_revenue", "DECIMAL(38,4)"),
    "orders": _last_24_hours("orders", "BIGINT"),
    "clients": "SELECT count(DISTINCT client_id) AS value, 'so far' AS moment "
    "FROM silver.sales_by_client WHERE client_id <> ''",
}
SERIES = {
    "revenue_by_day": Series(
        "net revenue by day",
        f"SELECT CAST(period_start AS DATE) AS day, currency, net_revenue {_DAYS} AND {_LARGE} "
        f"AND period_start > (SELECT max(period_start) {_DAYS}) - INTERVAL 90 DAY ORDER BY ALL",
        "day", ("net_revenue",), "currency",
    ),
    "revenue_by_hour": Series(
        "net revenue by hour, the last two days",
        f"SELECT period_start AS hour, currency, net_revenue {_HOURS} AND {_LARGE} "
        f"AND period_start > (SELECT max(period_start) {_HOURS}) - INTERVAL 48 HOUR ORDER BY ALL",
        "hour", ("net_revenue",), "currency",
    ),
    "orders_by_day": Series(
        "orders by day",
        f"SELECT CAST(period_start AS DATE) AS day, CAST(sum(orders) AS BIGINT) AS orders {_DAYS} "
        f"AND period_start > (SELECT max(period_start) {_DAYS}) - INTERVAL 90 DAY "
        "GROUP BY 1 ORDER BY 1",
        "day", ("orders",),
    ),
}  # fmt: skip
"""Name → picture over time."""

LOOK_UPS = {
    "client": LookUp(
        "one client, field by field", "SELECT * FROM clients WHERE client_id = {0}", "currency"
    )
}


def views(as_of: str | None) -> dict[str, str]:
    """The derived views; ``as_of`` is the TIMESTAMPTZ expression that recency counts to."""
    return {"clients": clients(as_of) if as_of else clients(), "trends": trends()}
