"""``lakehouse churn verify``: the audits of customers and predictions, one named check a part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lakehouse.core.text import Say
from lakehouse.explorer.named_checks import Check, verified
from lakehouse.products.churn.tables import FLOWS
from lakehouse.products.registry import contracts_of
from lakehouse.settings.settings import Settings

NAME = "churn"


def verify(settings: Settings, say: Say) -> Iterator[Check]:
    """Every part, of customers and then of predictions; TableMissing where nothing has landed."""
    for name in contracts_of(NAME):
        for check in verified(name, FLOWS, settings, say):
            part = name.removeprefix(NAME).strip("_") or "customers"
            yield check if "." in check.name else replace(check, name=f"{part}: {check.name}")
