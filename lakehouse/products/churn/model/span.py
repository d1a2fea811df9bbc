"""Which records of a topic are scored, and how far that is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

GROUP = "lakehouse-churn-score"


@dataclass(frozen=True)
class Span:
    """Which records are scored, and by what: all that come, by the promoted model, or these.

    A span that was scored already is scored again, by a group of its own: it is resumed where it
    was cut. Its dead letters are there already, and are not sent again.
    """

    since: datetime | None = None
    """By the records' Kafka time; None for the first that there is."""
    until: datetime | None = None
    """Up to, and without, this Kafka time; None for what is there now."""
    model: str = ""
    """A version, whether it is promoted or not."""

    @property
    def is_live(self) -> bool:
        """Whether it is no span, but everything that comes."""
        return self == Span()

    @property
    def group(self) -> str:
        """The consumer group that says how far it is."""
        if self.is_live:
            return GROUP
        told = f"{self.since} {self.until} {self.model}"
        return f"{GROUP}-{sha256(told.encode()).hexdigest()[:16]}"


LIVE = Span()
