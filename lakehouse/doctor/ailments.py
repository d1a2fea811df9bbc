"""What the lake itself says is wrong with it, as ``lakehouse status`` and the dashboard do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from lakehouse.doctor.check import Check
from lakehouse.explorer.concerns import ailments
from lakehouse.explorer.observed import Observer
from lakehouse.services.running import running_services
from lakehouse.settings.settings import Settings


def ailments_checks(settings: Settings) -> Iterator[Check]:
    """One check for each matter; one that passed where there is a lake, and nothing ails it."""
    with closing(Observer(settings, running_services)) as observer:
        if not observer.catalogue.names():
            return
        found = ailments(observer.look())
    for concern in found:
        state = "fail" if concern.level == "bad" else "warn"
        yield Check("lake", "now", state, concern.what, concern.fix)
    if not found:
        yield Check("lake", "now", "pass", "nothing that its tables and flows tell is wrong")
