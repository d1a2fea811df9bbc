"""The batch report: every section a SELECT over the lake and the derived views.

Currencies are never added up nor ranked against each other: lists are the first
of each currency, and currencies stand by their number of lines.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from lakehouse.core.errors import LakehouseError, TableDamaged, TableMissing
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import QueryTimedOut, Reader
from lakehouse.explorer.views import TIERS
from lakehouse.settings.sections import ExplorerSettings
from lakehouse.storage.duck import ten_thousandths

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
"""An order of two countries counts once here, so the orders are counted anew."""

COUNTRIES = f"""
    SELECT country, currency, orders, units, returns, net_revenue, clients, average_basket
    FROM silver.sales_by_country {_FIRST.format("country", 10)} ORDER BY {_BIG}, country"""

SEGMENTS = """
    SELECT segment, currency, orders, units, returns, net_revenue, clients, average_basket
    FROM silver.sales_by_segment
    ORDER BY sum(lines) OVER (PARTITION BY currency) DESC, currency, segment"""

TOP_CLIENTS = f"""
    SELECT client_id, currency, orders, net_revenue, recency_days, rfm, rfm_segment, tier
    FROM clients {_FIRST.format("client_id", 5)}
    ORDER BY sum(orders) OVER (PARTITION BY currency) DESC, currency, net_revenue DESC, client_id"""

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

QUALITY = """
    SELECT count(*) AS bronze_records, count(*) FILTER (is_late) AS late,
        count(*) FILTER (is_duplicate) AS duplicates, min(event_time) AS first_event,
        max(event_time) AS last_event, max(ingest_time) AS last_landed
    FROM bronze.sales"""

LEDGER = """
    SELECT batch_id, bronze_version, watermark, rows, late, duplicates,
        most_late_us // 60000000 AS most_late_minutes, first_late
    FROM ledger.sales ORDER BY batch_id DESC LIMIT 10"""
"""The newest batches that held late or doubled events."""

QUARANTINE = r"""
    WITH faults AS (
        SELECT regexp_replace(regexp_replace(verdict, ': [^;]*', '', 'g'), '"[^"]*"', '…', 'g')
                AS verdict,
            kafka_time, "partition", "offset",
            coalesce(TRY(decode(value)), CAST(value AS VARCHAR)) AS value
        FROM quarantine.sales WHERE replayed_version IS NULL)
    SELECT verdict, count(*) AS records,
        arg_min("partition" || ':' || "offset", (kafka_time, "partition", "offset")) AS first_at,
        substr(arg_min(coalesce(value, '(null)'), (kafka_time, "partition", "offset")), 1, 32)
            AS first_value
    FROM faults GROUP BY verdict ORDER BY records DESC, verdict LIMIT 25"""
"""Verdicts without the values that they quote, each with its first record's address and bytes.

Records that were replayed count in bronze.
"""

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
    "quality": QUALITY,
    "late_and_doubled": LEDGER,
    "quarantine": QUARANTINE,
}
"""Section → SELECT of the batch report, in order."""


def report(
    catalogue: Catalogue,
    settings: ExplorerSettings,
    views: dict[str, str],
    say: Callable[[str], None],
) -> dict[str, pa.Table]:
    """Every section that the tables there are can answer, and how fresh each table is.

    All sections read one snapshot. A section whose table is missing is left out, and
    ``say`` is told; TableMissing where the lake holds no table.
    """
    catalogue.require()
    found: dict[str, pa.Table] = {}
    with Reader(catalogue, settings, REPORT.values(), views) as reader:
        for name, sql in REPORT.items():
            try:
                found[name] = reader.ask(sql).rows
            except (TableDamaged, QueryTimedOut):
                raise
            except LakehouseError as error:
                say(f"{name}: left out: {error.place} {error.fault}")
    if not found:
        raise TableMissing("the report", "no table that it needs exists", "run `lakehouse demo`")
    try:
        found["freshness"] = catalogue.tables()
    except LakehouseError as error:
        say(f"freshness: left out: {error.place} {error.fault}")
    return found
