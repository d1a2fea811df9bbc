"""``lakehouse orders verify``: the audit with its source, one named check a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lakehouse.audit.pins import engine
from lakehouse.audit.proof import Proof
from lakehouse.core.errors import LakehouseError
from lakehouse.core.text import Say
from lakehouse.explorer.named_checks import finish, show
from lakehouse.products.orders.verify.capture import capture_checks
from lakehouse.products.orders.verify.check import Check, Parts
from lakehouse.products.orders.verify.lake import audit_checks, freshness_checks
from lakehouse.settings.settings import Settings

__all__ = ["finish", "show", "verify"]


def verify(
    settings: Settings, say: Say, keep: Callable[[Proof, Settings], int] | None = None
) -> list[Check]:
    """Every check, in the order of a change's way. A part that cannot be read fails its check.

    The audit is handed to ``keep``, where that is given.
    """
    with engine(settings) as connection:
        return list(_checks(Parts(settings, connection, say, keep)))


def _checks(parts: Parts) -> Iterator[Check]:
    steps: tuple[tuple[str, Callable[[Parts], Iterator[Check]]], ...] = (
        ("capture", capture_checks), ("bronze", audit_checks), ("freshness", freshness_checks),
    )  # fmt: skip
    for name, step in steps:
        try:
            yield from step(parts)
        except LakehouseError as error:
            yield Check(name, False, f"{error.place}: {error.fault}", error.remedy)
