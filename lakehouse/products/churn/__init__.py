"""Churn of a telephone company's customers: a model scores them, and its predictions are kept."""

from __future__ import annotations

from lakehouse.model.product import Product
from lakehouse.products.churn.contract import CUSTOMERS, PREDICTIONS
from lakehouse.products.churn.tables import FLOWS

PRODUCT = Product(
    name="churn",
    contracts=(CUSTOMERS, PREDICTIONS),
    flows=FLOWS,
    recompute="lakehouse.products.churn.recompute",
    report="lakehouse.products.churn.report",
    audit="lakehouse.products.churn.audit",
    demo="lakehouse.products.churn.demo",
    source="producers.churn.source",
    verbs="lakehouse.products.churn.verbs",
    checks="lakehouse.products.churn.checks",
    keeps_models=True,
    settings={
        "churn": "lakehouse.products.churn.settings:ChurnSettings",
        "churn_predictions": "lakehouse.products.churn.settings:ChurnPredictionsSettings",
    },
)
