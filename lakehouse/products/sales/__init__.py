"""Sales of a shop."""

from __future__ import annotations

from lakehouse.model.product import Product
from lakehouse.products.sales.contract import SALES
from lakehouse.products.sales.tables import FLOWS

PRODUCT = Product(
    name="sales",
    contracts=(SALES,),
    flows=FLOWS,
    settings="lakehouse.products.sales.settings:SalesSettings",
    recompute="lakehouse.products.sales.recompute",
    report="lakehouse.products.sales.report",
    source="producers.sales.source",
    demo="lakehouse.products.sales.demo",
    is_main=True,
)
