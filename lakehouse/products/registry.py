"""Contracts: one file an event kind; ``CONTRACTS`` lists them by product."""

from __future__ import annotations

from pathlib import Path

from lakehouse.model.contract import Contract
from lakehouse.products.orders.contract import ORDERS
from lakehouse.products.sales.contract import SALES
from lakehouse.settings.sections import ProductSettings
from lakehouse.settings.settings import Settings, load

CONTRACTS: dict[str, Contract] = {SALES.name: SALES, ORDERS.name: ORDERS}
PRODUCTS: dict[str, type[ProductSettings]] = {
    name: contract.settings for name, contract in CONTRACTS.items()
}
"""The class of each product's section."""


def load_settings(path: Path | None = None) -> Settings:
    """config.ini and the environment, with a section for every product."""
    return load(PRODUCTS, path)
