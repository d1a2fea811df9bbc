"""What the silver tables of sales must hold, as SQL over bronze: the audit's own words.

Each statement reads ``counted``, the rows of bronze that are not duplicates, and
is written from what docs/tables.md says, apart from the declarations that make
the tables: a fault there is not repeated here. Money is decimal throughout.
"""

from __future__ import annotations

from lakehouse.model.recompute import WHOLE, Recompute, Recomputes
from lakehouse.model.witness import Kind, Witness, whole_value

COUNTED = """
SELECT *, coalesce(client_id, '') AS client, quantity > 0 AS sold,
    CAST(unit_price AS DECIMAL(38, 4)) * quantity AS money
FROM bronze_then WHERE NOT is_duplicate
"""
_SUMS = """
    count(*) AS lines,
    CAST(sum(quantity) AS DECIMAL(38, 0)) AS units,
    CAST(coalesce(-sum(quantity) FILTER (NOT sold), 0) AS DECIMAL(38, 0)) AS units_returned,
    CAST(coalesce(sum(money) FILTER (sold), 0) AS DECIMAL(38, 4)) AS gross_revenue,
    CAST(coalesce(-sum(money) FILTER (NOT sold), 0) AS DECIMAL(38, 4)) AS returns,
    CAST(sum(money) AS DECIMAL(38, 4)) AS net_revenue
"""
_TIMES = """
    min(event_time) FILTER (sold) AS first_sale,
    max(event_time) FILTER (sold) AS last_sale
"""
# Whole ten-thousandths, divided as whole numbers: half of one is rounded up.
_BASKET = f"""
    CASE WHEN coalesce(orders, 0) > 0 THEN CAST((
        {WHOLE.format("gross_revenue")} // orders
        + CASE WHEN 2 * ({WHOLE.format("gross_revenue")} % orders) >= orders
            THEN 1 ELSE 0 END
    ) AS DECIMAL(38, 0)) * 0.0001 END
"""
_ORDERS_OF = """
    SELECT {key}, currency, count(*) AS orders
    FROM (SELECT DISTINCT {key}, currency, order_id FROM counted WHERE sold) GROUP BY ALL
"""
_CLIENTS_OF = """
    SELECT {key}, currency, count(*) AS clients
    FROM (SELECT DISTINCT {key}, currency, client FROM counted WHERE client <> '') GROUP BY ALL
"""

_BY_PLACE = """
WITH sums AS (SELECT {key}, currency, {sums}, {times} FROM counted GROUP BY ALL),
orders_of AS ({orders}), clients_of AS ({clients})
SELECT sums.*, coalesce(orders, 0) AS orders, coalesce(clients, 0) AS clients,
    CAST({basket} AS DECIMAL(38, 4)) AS average_basket
FROM sums LEFT JOIN orders_of USING ({key}, currency) LEFT JOIN clients_of USING ({key}, currency)
"""


def _by_place(key: str) -> str:
    return _BY_PLACE.format(
        key=key, sums=_SUMS, times=_TIMES, basket=_BASKET,
        orders=_ORDERS_OF.format(key=key), clients=_CLIENTS_OF.format(key=key),
    )  # fmt: skip


BY_COUNTRY = _by_place("country")
BY_SEGMENT = _by_place("segment")
BY_CLIENT = f"""
WITH sums AS (SELECT client, currency, {_SUMS}, {_TIMES} FROM counted GROUP BY ALL),
orders_of AS ({_ORDERS_OF.format(key="client")}),
bought AS (
    SELECT client, currency, product_id, sum(quantity) AS pieces
    FROM counted WHERE sold GROUP BY ALL
), most AS (SELECT client, currency, max(pieces) AS pieces FROM bought GROUP BY ALL),
chosen AS (
    SELECT client, currency, min(product_id) AS favourite_product
    FROM bought JOIN most USING (client, currency, pieces) GROUP BY ALL
)
SELECT sums.client AS client_id, sums.* EXCLUDE (client), coalesce(orders, 0) AS orders,
    favourite_product, CAST({_BASKET} AS DECIMAL(38, 4)) AS average_basket
FROM sums LEFT JOIN orders_of USING (client, currency) LEFT JOIN chosen USING (client, currency)
"""

_VALUE = """
    CASE WHEN dimension = 'all' THEN 'all' WHEN dimension = 'country' THEN country
        WHEN dimension = 'segment' THEN segment ELSE channel END
"""
TRENDS = f"""
WITH grains AS (SELECT unnest(['hour', 'day', 'week', 'month']) AS grain),
dimensions AS (SELECT unnest(['all', 'country', 'segment', 'channel']) AS dimension),
hours AS (
    SELECT date_trunc('hour', event_time) AS hour, country, segment, channel, currency, {_SUMS}
    FROM counted GROUP BY ALL
), sums AS (
    SELECT grain, date_trunc(grain, hour) AS period_start, dimension, {_VALUE} AS value, currency,
        CAST(sum(lines) AS BIGINT) AS lines, CAST(sum(units) AS DECIMAL(38, 0)) AS units,
        CAST(sum(units_returned) AS DECIMAL(38, 0)) AS units_returned,
        CAST(sum(gross_revenue) AS DECIMAL(38, 4)) AS gross_revenue,
        CAST(sum(returns) AS DECIMAL(38, 4)) AS returns,
        CAST(sum(net_revenue) AS DECIMAL(38, 4)) AS net_revenue
    FROM hours, grains, dimensions GROUP BY ALL
), bought AS (
    SELECT DISTINCT order_id, date_trunc('hour', event_time) AS hour,
        country, segment, channel, currency
    FROM counted WHERE sold
), orders_of AS (
    SELECT grain, date_trunc(grain, hour) AS period_start, dimension, {_VALUE} AS value, currency,
        count(DISTINCT order_id) AS orders
    FROM bought, grains, dimensions GROUP BY ALL
)
SELECT sums.*, CAST(period_start AS DATE) AS period_date,
    coalesce(orders, 0) AS orders, CAST({_BASKET} AS DECIMAL(38, 4)) AS average_basket
FROM sums LEFT JOIN orders_of USING (grain, period_start, dimension, value, currency)
"""
PRODUCT_TRENDS = f"""
WITH grains AS (SELECT unnest(['day', 'week', 'month']) AS grain),
days AS (
    SELECT date_trunc('day', event_time) AS day, product_id, currency,
        max(product_name) AS product_name, {_SUMS}
    FROM counted GROUP BY ALL
)
SELECT grain, date_trunc(grain, day) AS period_start, product_id, currency,
    CAST(date_trunc(grain, day) AS DATE) AS period_date,
    max(product_name) AS product_name,
    CAST(sum(lines) AS BIGINT) AS lines, CAST(sum(units) AS DECIMAL(38, 0)) AS units,
    CAST(sum(units_returned) AS DECIMAL(38, 0)) AS units_returned,
    CAST(sum(gross_revenue) AS DECIMAL(38, 4)) AS gross_revenue,
    CAST(sum(returns) AS DECIMAL(38, 4)) AS returns,
    CAST(sum(net_revenue) AS DECIMAL(38, 4)) AS net_revenue
FROM days, grains GROUP BY ALL
"""
ORDERS = """
SELECT DISTINCT order_id, client AS client_id, country, segment, channel, currency,
    date_trunc('hour', event_time) AS event_time
FROM counted WHERE sold
"""
CLIENTS = """
SELECT DISTINCT client AS client_id, country, segment, currency FROM counted WHERE client <> ''
"""
CLIENT_PRODUCTS = """
SELECT client AS client_id, currency, product_id, CAST(sum(quantity) AS DECIMAL(38, 0)) AS units
FROM counted WHERE sold GROUP BY ALL
"""

_PERIODS = ("grain", "period_start")
TABLES = (
    Recompute("by_country", ("country", "currency"), BY_COUNTRY),
    Recompute("by_client", ("client_id", "currency"), BY_CLIENT),
    Recompute("by_segment", ("segment", "currency"), BY_SEGMENT),
    Recompute("trends", (*_PERIODS, "dimension", "value", "currency"), TRENDS),
    Recompute("product_trends", (*_PERIODS, "product_id", "currency"), PRODUCT_TRENDS),
    Recompute(
        "orders",
        ("order_id", "client_id", "country", "segment", "channel", "currency", "event_time"),
        ORDERS,
    ),
    Recompute("clients", ("client_id", "country", "segment", "currency"), CLIENTS),
    Recompute("client_products", ("client_id", "currency", "product_id"), CLIENT_PRODUCTS),
)
"""Every silver table of sales, the finer ones too."""

_FIELDS = {
    "event_id": Kind.TEXT, "event_time": Kind.TIME, "order_id": Kind.TEXT, "client_id": Kind.TEXT,
    "country": Kind.TEXT, "segment": Kind.TEXT, "product_id": Kind.TEXT,
    "product_name": Kind.TEXT, "quantity": Kind.WHOLE, "unit_price": Kind.MONEY,
    "currency": Kind.TEXT, "channel": Kind.TEXT,
}  # fmt: skip
WITNESS = Witness(_FIELDS, frozenset(_FIELDS) - {"client_id", "product_name"}, whole_value)
"""What a record of sales says: bronze's own columns, in the audit's words."""

RECOMPUTES = {"sales": Recomputes(COUNTED, TABLES, WITNESS)}
