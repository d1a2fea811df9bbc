"""Activity of users on pages: windows and sessions."""

from __future__ import annotations

from lakehouse.model.product import Product
from lakehouse.products.activity.contract import ACTIVITY
from lakehouse.products.activity.tables import FLOWS

PRODUCT = Product(
    name="activity",
    contracts=(ACTIVITY,),
    flows=FLOWS,
    settings="lakehouse.products.activity.settings:ActivitySettings",
    recompute="lakehouse.products.activity.recompute",
    report="lakehouse.products.activity.report",
    demo="lakehouse.products.activity.demo",
    verbs="lakehouse.products.activity.verbs",
    source="producers.activity.source",
)
