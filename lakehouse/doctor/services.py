"""Checks of what embedded services keep outside of their lakes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from lakehouse.core.own import state_folder
from lakehouse.doctor.check import Check
from lakehouse.services.home import forsaken
from lakehouse.settings.settings import Settings


def services_checks(_: Settings) -> Iterator[Check]:
    """The folder of services' data, and what in it is of lakes that are gone."""
    left = forsaken()
    size = sum(p.lstat().st_size for home, _ in left for p in home.rglob("*")) / 1e6
    lakes = ", ".join(str(root) for _, root in left[:3]) + (" ..." if len(left) > 3 else "")
    yield Check(
        "services", "data", "warn" if left else "pass",
        f"{size:,.0f} MB of {len(left)} lakes that are no longer at {lakes}" if left
        else str(state_folder()),
        "where they were not just moved: rm -r "
        + " ".join(shlex.quote(str(home)) for home, _ in left) if left else "",
    )  # fmt: skip
