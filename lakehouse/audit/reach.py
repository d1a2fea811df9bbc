"""How far an audit looked: of how many records, how many of them compared by content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lakehouse.audit.extent import Content


@dataclass(frozen=True)
class ContentRead:
    """Records whose content was compared with Kafka's own bytes, and those that it has no more."""

    asked: Content
    records: int = 0
    expired: int = 0


@dataclass(frozen=True)
class Reach:
    """Records landed, records that wait, and what followers of bronze lack.

    ``waiting`` counts committed records, or offsets where there are too many to look at;
    None where Kafka could not be asked.
    """

    taken: int
    waiting: int | None
    missing: int = 0
    lacking: Mapping[str, int | None] = field(default_factory=dict)
    """Table → rows of bronze that it has not applied, where there are any; None where unknown."""
    content: ContentRead | None = None

    @property
    def is_caught_up(self) -> bool | None:
        """Whether nothing waits: bronze has all of Kafka, and silver all of bronze.

        None where nobody looked, and nothing that was looked at waits.
        """
        counts = [self.waiting, *self.lacking.values()]
        if any(counts):
            return False
        return None if None in counts else True

    @property
    def of(self) -> int | None:
        """All records that there are to land; None where Kafka could not be asked."""
        return None if self.waiting is None else self.taken + self.missing + self.waiting

    def told(self) -> str:
        """``12,090 of 12,090 records, content of all``."""
        of = "an unknown number of" if self.of is None else f"{self.of:,}"
        taken = " are landed" if self.is_caught_up is False else ""
        return ", ".join([f"{self.taken:,} of {of} records{taken}", *self._more()])

    def _more(self) -> Iterator[str]:
        if lacking := [rows for rows in self.lacking.values() if rows]:
            most, tables = max(lacking), len(lacking)
            yield (
                f"{tables} table{'s' * (tables > 1)} of silver behind by up to "
                f"{most:,} row{'s' * (most > 1)}"
            )
        if self.content is None or self.content.asked is Content.NONE:
            yield "content not looked at"
        elif self.taken == 0:
            return
        elif self.content.records >= self.taken:
            yield "content of all"
        else:
            gone = f" ({self.content.expired:,} have expired in Kafka)"
            yield f"content of {self.content.records:,}{gone if self.content.expired else ''}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = self.content or ContentRead(Content.NONE)
        return {
            "taken": self.taken,
            "of": self.of,
            "waiting": self.waiting,
            "caught_up": self.is_caught_up,
            "lacking": dict(self.lacking),
            "content": content.asked.value,
            "content_compared": content.records,
            "content_expired": None if self.waiting is None else content.expired,
        }
