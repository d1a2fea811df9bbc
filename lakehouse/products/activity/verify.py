"""``lakehouse activity verify``: the audit of all content, one named check a part."""

from __future__ import annotations

from lakehouse.core.text import Say
from lakehouse.explorer.named_checks import Check, finish, verified
from lakehouse.products.activity.tables import FLOWS
from lakehouse.settings.settings import Settings

__all__ = ["finish", "verify"]


def verify(settings: Settings, say: Say) -> list[Check]:
    """Every part in the order of an event's way; TableMissing where nothing has landed yet."""
    return [*verified("activity", FLOWS, settings, say)]
