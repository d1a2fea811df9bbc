"""What is derived when it is read: recency, tiers, RFM, change against the period before.

Each is a SELECT over the silver tables; ``as_of`` is a TIMESTAMPTZ expression
that defaults to the latest event. Money stays decimal: quotients are whole-number
divisions at a declared scale.
"""

from __future__ import annotations

from lakehouse.core.sql import ten_thousandths

TIERS = (("platinum", 10_000), ("gold", 2_500), ("silver", 500), ("bronze", 0))
"""Loyalty tier → least net revenue, in the client's currency."""
LATEST = "(SELECT max(last_sale) FROM silver.sales_by_country)"


SCORED = {"r": "last_sale", "f": "orders", "m": "net_revenue"}
"""Score → the measure that it ranks."""


def tops(name: str) -> str:
    """The greatest value of a measure in each of the lower four fifths of those who bought."""
    found = f"quantile_disc({SCORED[name]}, [0.2, 0.4, 0.6, 0.8]) FILTER (orders > 0)"
    return ", ".join(f"({found})[{n}] AS {name}{n}" for n in range(1, 5))


def score(name: str) -> str:
    """A score of 1 to 5 (5 is most) by :func:`tops`; equal values score alike.

    It is 1 + 5 × (rank - 1) ÷ count, as a whole number, without sorting rows: those above the
    smallest value that so many rows reach have as many before them.
    """
    cases = " ".join(f"WHEN {SCORED[name]} > {name}{n} THEN {n + 1}" for n in range(4, 0, -1))
    return f"CASE {cases} ELSE 1 END AS {name}"


def clients(as_of: str = LATEST) -> str:
    """Clients with recency in days, RFM scores, the segment that they make, and tier.

    Recency counts UTC days to ``as_of``. Who never bought (only returned) has no score; the
    others are scored within their currency.
    """
    tiers = " ".join(f"WHEN net_revenue >= {least} THEN '{tier}'" for tier, least in TIERS)
    return f"""
        WITH tops AS (
            SELECT currency, {", ".join(map(tops, SCORED))}
            FROM silver.sales_by_client WHERE client_id <> '' GROUP BY currency),
        scored AS (
            SELECT *, CAST({as_of} AS DATE) - CAST(last_sale AS DATE) AS recency_days,
                {", ".join(map(score, SCORED))}
            FROM silver.sales_by_client JOIN tops USING (currency) WHERE client_id <> '')
        SELECT client_id, currency, orders, units, gross_revenue, returns, net_revenue,
            average_basket, favourite_product, first_sale, last_sale, recency_days,
            CASE WHEN orders > 0 THEN CAST(100 * r + 10 * f + m AS VARCHAR) END AS rfm,
            CASE WHEN orders = 0 THEN 'only returns'
                 WHEN r >= 4 AND f >= 4 AND m >= 4 THEN 'champion'
                 WHEN r >= 3 AND f >= 3 THEN 'loyal'
                 WHEN r >= 4 THEN 'new or returning'
                 WHEN f >= 3 OR m >= 4 THEN 'at risk'
                 ELSE 'hibernating' END AS rfm_segment,
            CASE {tiers} ELSE 'none' END AS tier
        FROM scored"""


def percent(part: str, whole: str) -> str:
    """100 × part ÷ whole at one decimal, half away from zero; null unless whole > 0.

    Null too where the quotient, or 2,000 times the part, has no room in 38 digits.
    """
    top, bottom = ten_thousandths(part), ten_thousandths(whole)
    size = f"(2000 * abs({top}) + {bottom}) // (2 * {bottom})"
    return (
        f"TRY(CASE WHEN {whole} > 0 THEN CAST(CAST(sign({top}) AS HUGEINT) * ({size}) "
        "AS DECIMAL(36,0)) * CAST(0.1 AS DECIMAL(2,1)) END)"
    )


def trends() -> str:
    """Trends with the period before: its revenue, the change, and the change in percent.

    The period before is the adjacent one: where it has no row there is no change.
    """
    step = "CASE cur.grain WHEN 'hour' THEN INTERVAL 1 HOUR WHEN 'day' THEN INTERVAL 1 DAY "
    step += "WHEN 'week' THEN INTERVAL 7 DAY ELSE INTERVAL 1 MONTH END"
    change = "(cur.net_revenue - was.net_revenue)"
    return f"""
        SELECT cur.grain, cur.period_start, cur.dimension, cur.value, cur.currency, cur.orders,
            cur.lines, cur.units, cur.net_revenue, was.net_revenue AS previous_net_revenue,
            {change} AS change, {percent(change, "was.net_revenue")} AS change_pct
        FROM silver.sales_trends AS cur LEFT JOIN silver.sales_trends was
            ON was.grain = cur.grain AND was.dimension = cur.dimension AND was.value = cur.value
            AND was.currency = cur.currency AND was.period_start = cur.period_start - {step}"""


"""Name → SELECT: free SQL may use them as tables."""
