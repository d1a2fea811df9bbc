"""Sales: what the shop's silver tables are."""

from __future__ import annotations

from lakehouse.model.flow import (
    MONEY,
    UNITS,
    Aggregate,
    BronzeFlow,
    Distinct,
    Favourite,
    Finer,
    Flow,
    Measure,
    Ratio,
    SilverFlow,
)
from lakehouse.products.sales.contract import SALES

# of wide decimals: DuckDB keeps a product of two narrow ones within 18 digits
_LINE = "CAST(unit_price AS DECIMAL(28,4)) * quantity"

LINES = Measure("count(*)", "BIGINT", "sum", "lines, sold and returned")
PIECES = Measure("sum(CAST(quantity AS BIGINT))", UNITS, "sum", "Σ quantity: sold less returned")
UNITS_RETURNED = Measure(
    "sum(CASE WHEN quantity < 0 THEN -CAST(quantity AS BIGINT) ELSE 0 END)",
    UNITS,
    "sum",
    "pieces that came back",
)
GROSS = Measure(
    f"sum(CASE WHEN quantity > 0 THEN {_LINE} ELSE 0 END)", MONEY, "sum", "Σ of positive lines"
)
RETURNS = Measure(
    f"sum(CASE WHEN quantity < 0 THEN -({_LINE}) ELSE 0 END)",
    MONEY,
    "sum",
    "Σ of negative lines, as a positive amount",
)
NET = Measure(f"sum({_LINE})", MONEY, "sum", "Σ quantity × unit_price: gross less returns")
FIRST = Measure(
    "min(CASE WHEN quantity > 0 THEN event_time END)",
    "TIMESTAMPTZ",
    "min",
    "time of the earliest positive line; null where there are only returns",
)
LAST = Measure(
    "max(CASE WHEN quantity > 0 THEN event_time END)",
    "TIMESTAMPTZ",
    "max",
    "time of the latest positive line",
)

SHARED = {
    "lines": LINES,
    "units": PIECES,
    "units_returned": UNITS_RETURNED,
    "gross_revenue": GROSS,
    "returns": RETURNS,
    "net_revenue": NET,
    "first_sale": FIRST,
    "last_sale": LAST,
}
"""Measures that every table of sales has."""

ORDERS = Finer(
    name="orders",
    keys={
        "order_id": "order_id",
        "client_id": "coalesce(client_id, '')",
        "country": "country",
        "segment": "segment",
        "channel": "channel",
        "currency": "currency",
        "event_time": "date_trunc('hour', event_time)",
    },
    entity="order_id",
    where="quantity > 0",
    doc="one row per order and where it counts: an order counts when it has a positive line",
)
CLIENTS = Finer(
    name="clients",
    keys={
        "client_id": "client_id",
        "country": "country",
        "segment": "segment",
        "currency": "currency",
    },
    entity="client_id",
    where="client_id <> ''",
    doc="one row per client, country, segment and currency that bought or returned; no guests",
)
ORDER_COUNT = Distinct(ORDERS, "orders with at least one positive line")
CLIENT_COUNT = Distinct(CLIENTS, "clients with at least one line; guests are not counted")
BASKET = Ratio("gross_revenue", "orders", "gross_revenue ÷ orders")

BY_COUNTRY = Aggregate(
    name="by_country",
    keys={"country": ("country", "VARCHAR"), "currency": ("currency", "VARCHAR")},
    docs={"country": "where clients buy from", "currency": "currencies are never added up"},
    measures=SHARED,
    distinct={"orders": ORDER_COUNT, "clients": CLIENT_COUNT},
    ratios={"average_basket": BASKET},
    doc="one row per country and currency",
)
BY_CLIENT = Aggregate(
    name="by_client",
    keys={
        "client_id": ("coalesce(client_id, '')", "VARCHAR"),
        "currency": ("currency", "VARCHAR"),
    },
    docs={"client_id": "'' for all guests together", "currency": "currencies are never added up"},
    measures=SHARED,
    distinct={"orders": ORDER_COUNT},
    favourite={
        "favourite_product": Favourite(
            finer="client_products",
            of="product_id",
            units="quantity",
            where="quantity > 0",
            doc="product_id with the most units bought in this currency; ties: the smallest id",
        )
    },
    ratios={"average_basket": BASKET},
    doc="one row per client and currency; recency, tier and RFM are derived when read",
)
BY_SEGMENT = Aggregate(
    name="by_segment",
    keys={"segment": ("segment", "VARCHAR"), "currency": ("currency", "VARCHAR")},
    docs={"segment": "B2B or B2C", "currency": "currencies are never added up"},
    measures=SHARED,
    distinct={"orders": ORDER_COUNT, "clients": CLIENT_COUNT},
    ratios={"average_basket": BASKET},
    doc="one row per segment and currency",
)
_PERIOD_DOCS = {
    "grain": "hour, day, week (from Monday) or month, in UTC",
    "period_start": "start of the period",
    "period_date": "date of period_start; partition",
    "currency": "currencies are never added up",
}
TRENDS = Aggregate(
    name="trends",
    keys={
        "grain": ("grain", "VARCHAR"),
        "period_start": ("date_trunc(grain, event_time)", "TIMESTAMPTZ"),
        "dimension": ("dimension", "VARCHAR"),
        "value": (
            "CASE dimension WHEN 'country' THEN country WHEN 'segment' THEN segment "
            "WHEN 'channel' THEN channel ELSE 'all' END",
            "VARCHAR",
        ),
        "currency": ("currency", "VARCHAR"),
        "period_date": ("CAST(date_trunc(grain, event_time) AS DATE)", "DATE"),
    },
    docs={
        **_PERIOD_DOCS,
        "dimension": "all, country, segment or channel",
        "value": "the country, segment or channel; 'all' for dimension all",
    },
    measures={k: v for k, v in SHARED.items() if k not in {"first_sale", "last_sale"}},
    distinct={"orders": ORDER_COUNT},
    slice={
        "event_time": "date_trunc('hour', event_time)",
        "country": "country",
        "segment": "segment",
        "channel": "channel",
        "currency": "currency",
    },
    explode="CROSS JOIN (VALUES ('hour'), ('day'), ('week'), ('month')) AS g(grain) "
    "CROSS JOIN (VALUES ('all'), ('country'), ('segment'), ('channel')) AS d(dimension)",
    partition="period_date",
    ratios={"average_basket": BASKET},
    doc="one row per period and country, segment or channel; the period before is joined when read",
)
PRODUCT_TRENDS = Aggregate(
    name="product_trends",
    keys={
        "grain": ("grain", "VARCHAR"),
        "period_start": ("date_trunc(grain, event_time)", "TIMESTAMPTZ"),
        "product_id": ("product_id", "VARCHAR"),
        "currency": ("currency", "VARCHAR"),
        "period_date": ("CAST(date_trunc(grain, event_time) AS DATE)", "DATE"),
    },
    docs={**_PERIOD_DOCS, "product_id": "the article"},
    measures={
        "product_name": Measure(
            "max(product_name)", "VARCHAR", "max", "a name of the article: the last by alphabet"
        ),
        **{k: v for k, v in SHARED.items() if k not in {"first_sale", "last_sale"}},
    },
    slice={
        "event_time": "date_trunc('day', event_time)",
        "product_id": "product_id",
        "currency": "currency",
    },
    explode="CROSS JOIN (VALUES ('day'), ('week'), ('month')) AS g(grain)",
    partition="period_date",
    doc="one row per product and day, week or month",
)

FLOWS: tuple[Flow, ...] = (
    BronzeFlow(SALES),
    SilverFlow(SALES, (BY_COUNTRY, BY_CLIENT, BY_SEGMENT, TRENDS, PRODUCT_TRENDS)),
)
