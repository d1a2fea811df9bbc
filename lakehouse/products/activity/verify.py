"""``lakehouse activity verify``: the audit of all content, one named check a part."""

from __future__ import annotations

from datetime import UTC, datetime

from lakehouse.audit.check import Say
from lakehouse.audit.extent import Content
from lakehouse.audit.run import audit, broker_of
from lakehouse.core.paths import root_option
from lakehouse.explorer.named_checks import Check, finish, seen
from lakehouse.products.activity.tables import FLOWS
from lakehouse.settings.settings import Settings

__all__ = ["finish", "verify"]
NAME = "activity"


def verify(settings: Settings, say: Say) -> list[Check]:
    """Every part in the order of an event's way; TableMissing where nothing has landed yet."""
    proof = audit(
        NAME, settings, broker_of(settings, NAME), datetime.now(UTC), say, Content.ALL
    )  # fmt: skip
    root = root_option(settings.lake.root)
    names = " ".join(flow.name for flow in FLOWS)
    run = f"lakehouse run {names} --available-now {root}"
    return [*seen(proof, run, f"lakehouse audit {NAME} --content all {root}")]
