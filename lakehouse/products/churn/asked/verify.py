"""``lakehouse churn verify``: the audits of customers and predictions, one named check a part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from lakehouse.audit.check import Say
from lakehouse.audit.extent import Content
from lakehouse.audit.run import audit, broker_of
from lakehouse.core.paths import root_option
from lakehouse.explorer.named_checks import Check, seen
from lakehouse.products.churn.tables import FLOWS
from lakehouse.products.registry import contracts_of
from lakehouse.settings.settings import Settings

NAME = "churn"


def verify(settings: Settings, say: Say) -> Iterator[Check]:
    """Every part, of customers and then of predictions; TableMissing where nothing has landed."""
    root = root_option(settings.lake.root)
    names = " ".join(flow.name for flow in FLOWS)
    run = f"lakehouse run {names} --available-now {root}"
    for name in contracts_of(NAME):
        proof = audit(
            name, settings, broker_of(settings, name), datetime.now(UTC), say, Content.ALL
        )  # fmt: skip
        for check in seen(proof, run, f"lakehouse audit {name} --content all {root}"):
            part = name.removeprefix(NAME).strip("_") or "customers"
            yield check if "." in check.name else replace(check, name=f"{part}: {check.name}")
