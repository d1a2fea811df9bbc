"""Meaning: what each product's tables are. Declared and pure; ``FLOWS`` lists every flow."""

from __future__ import annotations

from lakehouse.core.flow import Flow
from lakehouse.products import orders, sales

FLOWS: tuple[Flow, ...] = (*sales.FLOWS, *orders.FLOWS)
