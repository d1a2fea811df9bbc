"""Sinks of sales, whose tables the tests know; the engine's own products need none of them."""

from dataclasses import replace

from lakehouse.model.sink import KafkaSink, PostgresSink, PostgresTable
from tests.conftest import SALES

BY_COUNTRY = PostgresTable(
    "silver.sales_by_country", "by_country", ("country", "currency"), (("net_revenue",),)
)
BY_CLIENT = PostgresTable(
    "silver.sales_by_client", "by_client", ("client_id", "currency"),
    (("favourite_product",),), without=("returns",),
)  # fmt: skip
POSTGRES = PostgresSink(SALES, (BY_COUNTRY, BY_CLIENT))
KAFKA = KafkaSink(
    SALES, "enriched_sales", "client_id", where="quantity <> 0",
    columns={"total": "quantity * unit_price"},
)  # fmt: skip


def named(topic: str) -> KafkaSink:
    """The Kafka sink of sales, into another topic."""
    return replace(KAFKA, topic=topic)
