"""Contracts: one file an event kind; ``CONTRACTS`` lists them by product."""

from __future__ import annotations

from pathlib import Path

from lakehouse.contracts.contract import Contract
from lakehouse.contracts.sales import SALES
from lakehouse.core.settings import Settings, load

CONTRACTS: dict[str, Contract] = {SALES.name: SALES}


def load_settings(path: Path | None = None) -> Settings:
    """config.ini and the environment, with a section for every product."""
    return load({name: contract.settings for name, contract in CONTRACTS.items()}, path)
