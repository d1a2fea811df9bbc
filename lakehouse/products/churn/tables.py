"""Churn: what the silver tables of customers and of predictions are."""

from __future__ import annotations

from lakehouse.model.flow import BronzeFlow, Flow
from lakehouse.products.churn.contract import CUSTOMERS, PREDICTIONS

FLOWS: tuple[Flow, ...] = (BronzeFlow(CUSTOMERS), BronzeFlow(PREDICTIONS))
