"""Ends: how far a table holds each topic partition, recorded in its own commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Ends:
    """The next offset of each partition of one topic, and the newest event time held."""

    topic: str
    topic_id: str
    next: Mapping[int, int] = field(default_factory=dict)
    newest: datetime | None = None
    batch: int = -1
    """Number of the batch that reached these ends; batches are counted from 0."""

    def note(self) -> dict[str, Any]:
        """As recorded in a commit's metadata."""
        return {
            "topic": self.topic,
            "topic_id": self.topic_id,
            "next": {str(p): o for p, o in sorted(self.next.items())},
            "newest": self.newest.isoformat() if self.newest else None,
            "batch": self.batch,
        }

    @classmethod
    def read(cls, note: Mapping[str, Any]) -> Ends:
        """Back from a commit's metadata."""
        newest = note.get("newest")
        return cls(
            topic=note["topic"],
            topic_id=note["topic_id"],
            next={int(p): int(o) for p, o in note["next"].items()},
            newest=datetime.fromisoformat(newest).astimezone(UTC) if newest else None,
            batch=int(note["batch"]),
        )

    def reached(self, other: Mapping[int, int]) -> bool:
        """Whether every partition of ``other`` is held up to there."""
        return all(self.next.get(p, 0) >= o for p, o in other.items())
