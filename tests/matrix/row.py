"""What a row of the matrix is, and what one try of it showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.matrix.faults import Act

LIMIT_SECONDS = 60.0
"""A recovery that takes longer is a fault."""


@dataclass(frozen=True)
class Row:
    """A fault: its name for ``--only``, what it is, and what does it."""

    name: str
    fault: str
    act: Act
    settings: Mapping[str, str] = field(default_factory=dict)
    days: int = 30
    """Days that the events are spread over: each is a partition of bronze."""


@dataclass(frozen=True)
class Outcome:
    """What one try showed. ``wrong`` is empty where all of it held."""

    seconds: Sequence[float] = ()
    records: int = 0
    lost: int = 0
    doubled: int = 0
    ends: Sequence[str] = ()
    wrong: Sequence[str] = ()
    skipped: str = ""

    @property
    def faults(self) -> list[str]:
        """What did not hold."""
        counts = {"lost": self.lost, "doubled": self.doubled}
        slow = [s for s in self.seconds if s > LIMIT_SECONDS]
        return [
            *self.wrong,
            *(f"{count} {what}" for what, count in counts.items() if count),
            *(f"{seconds:.0f} s to recover" for seconds in slow),
        ]
