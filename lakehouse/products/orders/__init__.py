"""Food orders, captured from Postgres."""

from __future__ import annotations

from lakehouse.model.product import Product
from lakehouse.products.orders.contract import ORDERS
from lakehouse.products.orders.tables import FLOWS

PRODUCT = Product(
    name="orders",
    contracts=(ORDERS,),
    flows=FLOWS,
    settings="lakehouse.products.orders.settings:OrdersSettings",
    recompute="lakehouse.products.orders.recompute",
    audit="lakehouse.products.orders.audit",
    source="producers.orders.source",
    steps="producers.cdc.steps:Step",
    verbs="lakehouse.products.orders.verbs",
    demo="lakehouse.products.orders.demo",
    checks="lakehouse.products.orders.checks",
    report="lakehouse.products.orders.report",
    needs_postgres=True,
)
