"""What is accounted for of a topic, partition by partition, and the first of what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Partition:
    """One topic partition: what is to be accounted for, and where it was found.

    Kafka's own numbers are None where Kafka could not be asked. ``kept`` rows are
    older than what Kafka still has; ``markers`` are offsets that hold no record:
    transaction markers, and records that compaction took; ``expired`` offsets lie
    below what Kafka has, above the first held, and in neither table; those that a
    person gave up are ``accepted``.
    """

    partition: int
    beginning: int | None
    end: int
    kafka_end: int | None
    bronze: int
    quarantine: int
    kept: int
    doubled: int = 0
    missing: int = 0
    aborted: int = 0
    markers: int = 0
    accepted: int = 0
    expired: int = 0
    unknown: int = 0
    erased: int = 0
    """Addresses that the ledger of `lakehouse erase` names."""
    first: int | None = None
    """The lowest offset that bronze ever took; None where it is not recorded."""
    lowest_missing: bool = False
    """Whether no table holds that offset."""
    unread: int = 0
    """Offsets that expired in Kafka before bronze took them."""
    waiting: int = 0
    """Records that Kafka has and bronze has not landed; offsets where they are many."""


@dataclass(frozen=True)
class Account:
    """All partitions; the first of whatever is wrong; rows that no range holds."""

    partitions: tuple[Partition, ...]
    missing: tuple[dict[str, Any], ...]
    doubled: tuple[dict[str, Any], ...]
    set_apart: tuple[dict[str, Any], ...]
    """Gaps that are no loss, or not known to be one, by kind."""
    above_ends: int
    """Rows of bronze above its own ends: it cannot have taken them in."""
    leftover: int
    """Rows of quarantine above bronze's ends: left by a crash, or landing now."""
    other_topics: int
    lost: tuple[dict[str, Any], ...] = ()
    """What was given up, as bronze's commits say it; ``offsets`` is None where nobody knows."""
    former: int = 0
    """Addresses of a topic, or of a log of it, that is gone: there is nothing to compare."""
    former_doubled: int = 0
    erasing: int = 0
    """Addresses that the ledger names and a table still holds."""
    is_compared: bool = False
    """Whether Kafka's offsets were at hand."""

    @classmethod
    def unknown(cls) -> Account:
        """Nothing counted: the addresses could not be read."""
        return cls((), (), (), (), 0, 0, 0)

    def total(self, name: str) -> int:
        """A column's sum over the partitions."""
        return sum(getattr(p, name) for p in self.partitions)
