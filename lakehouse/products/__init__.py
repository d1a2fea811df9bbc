"""Meaning: what each product's tables are. Declared and pure; ``FLOWS`` lists every flow."""

from __future__ import annotations

from lakehouse.model.flow import Flow
from lakehouse.products.orders import tables as orders
from lakehouse.products.sales import tables as sales

FLOWS: tuple[Flow, ...] = (*sales.FLOWS, *orders.FLOWS)
