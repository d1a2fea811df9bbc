"""Ends: how far a table holds each topic partition, recorded in its own commits.

Also what was given up on the way: gaps that Kafka can no longer fill, which a
person accepted. They stay in the ends, so that the audit tells them from a loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lakehouse.core.sql import text

if TYPE_CHECKING:
    from lakehouse.ingest.topic import Topic

EXPIRED = "expired"
RECREATED = "topic recreated"
ROLLED_BACK = "topic rolled back"


@dataclass(frozen=True)
class Lost:
    """Offsets from ``first`` to before ``next`` that Kafka no longer has.

    ``next`` and ``offsets`` (how many of them neither table holds, at most) are None
    where nobody knows: the topic that held them is gone. ``again`` is where its
    addresses begin again: rows at or above it, of batches up to ``batch``, are of
    what is gone.
    """

    kind: str
    topic_id: str
    partition: int
    first: int
    next: int | None
    offsets: int | None
    batch: int
    again: int | None = None

    def told(self) -> str:
        """As text: where, which offsets, why, how many."""
        place = f"partition {self.partition}"
        if self.next is None:
            return f"{place}: {self.kind}: what it held from offset {self.first} on is not known"
        count = "" if self.offsets is None else f" ({self.offsets:,} offsets)"
        return f"{place}: {self.kind}: offsets {self.first} to {self.next - 1}{count}"


@dataclass(frozen=True)
class Rule:
    """How rows of batches from ``batch`` on are marked: by which horizon and delay, in µs.

    The delay is None where nobody recorded it.
    """

    batch: int
    horizon: int
    delay: int | None


@dataclass(frozen=True)
class Ends:
    """The next offset of each partition of one topic, and the newest event time held."""

    topic: str
    topic_id: str
    next: Mapping[int, int] = field(default_factory=dict)
    newest: datetime | None = None
    batch: int = -1
    """Number of the batch that reached these ends; batches are counted from 0."""
    held: Mapping[int, int] = field(default_factory=dict)
    """Where the flow went back: below this the tables may hold rows above the ends."""
    lost: tuple[Lost, ...] = ()
    """What was accepted as lost, the oldest first."""
    first: Mapping[int, int] = field(default_factory=dict)
    """The lowest offset of each partition that was landed since this is recorded."""
    rules: tuple[Rule, ...] = ()
    """How batches were marked, by batch, since this is recorded: settings may change."""
    passed: datetime | None = None
    """The watermark that the newest batch was marked by."""
    is_from_rows: bool = False
    """Whether no commit says this: it is computed from the rows, and more may have been read."""
    quarantine: tuple[int, int] | None = field(default=None, compare=False)
    """Quarantine's version when this was recorded, and the time of that commit in ms."""
    tables: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Delta's ids of the tables beside bronze, by layer: another one in its place is found."""

    def note(self) -> dict[str, Any]:
        """As recorded in a commit's metadata."""
        note: dict[str, Any] = {
            "topic": self.topic,
            "topic_id": self.topic_id,
            "next": {str(p): o for p, o in sorted(self.next.items())},
            "newest": self.newest.isoformat() if self.newest else None,
            "batch": self.batch,
        }
        if self.first:
            note["first"] = {str(p): o for p, o in sorted(self.first.items())}
        if self.held:
            note["held"] = {str(p): o for p, o in sorted(self.held.items())}
        if self.lost:
            note["lost"] = [asdict(lost) for lost in self.lost]
        if self.rules:
            note["rules"] = [[rule.batch, rule.horizon, rule.delay] for rule in self.rules]
        if self.passed:
            note["passed"] = self.passed.isoformat()
        if self.quarantine:
            note["quarantine"] = list(self.quarantine)
        if self.tables:
            note["tables"] = dict(self.tables)
        return note

    @classmethod
    def read(cls, note: Mapping[str, Any]) -> Ends:
        """Back from a commit's metadata."""
        quarantine = note.get("quarantine")
        return cls(
            topic=note["topic"],
            topic_id=note["topic_id"],
            next=_offsets(note["next"]),
            newest=_time(note.get("newest")),
            batch=int(note["batch"]),
            held=_offsets(note.get("held", {})),
            first=_offsets(note.get("first", {})),
            lost=tuple(Lost(**lost) for lost in note.get("lost", ())),
            rules=tuple(Rule(*rule) for rule in note.get("rules", ())),
            passed=_time(note.get("passed")),
            quarantine=(int(quarantine[0]), int(quarantine[1])) if quarantine else None,
            tables=note.get("tables", {}),
        )

    @property
    def watermark(self) -> datetime | None:
        """What a batch is marked by after it; None where the delay is not recorded."""
        delay = self.rules[-1].delay if self.rules else None
        if self.newest is None or delay is None:
            return self.passed
        reached = self.newest - timedelta(microseconds=delay)
        return max(reached, self.passed or reached)

    def reached(self, other: Mapping[int, int]) -> bool:
        """Whether every partition of ``other`` is held up to there."""
        return all(self.next.get(p, 0) >= o for p, o in other.items())

    def beginning(self, lowest: Mapping[int, int]) -> Ends:
        """These ends, with the lowest offset of each partition among rows that are added."""
        return replace(self, first={**lowest, **self.first})

    def marked_by(self, batch: int, horizon: int, delay: int) -> Ends:
        """These ends, given how rows of the next batch are marked."""
        rules = tuple(rule for rule in self.rules if rule.batch < batch)
        if not rules or (rules[-1].horizon, rules[-1].delay) != (horizon, delay):
            rules = (*rules, Rule(batch, horizon, delay))
        return replace(self, rules=rules)

    def rules_of_all(self, horizon: int) -> tuple[Rule, ...]:
        """How batches were marked, from the first on.

        What an earlier release landed says nothing of itself: it counts as marked by the
        first horizon that is recorded, or else by ``horizon``.
        """
        if self.rules and self.rules[0].batch <= 0:
            return self.rules
        first = self.rules[0].horizon if self.rules else horizon
        return (Rule(0, first, None), *self.rules)

    def gone_back(self, start: Mapping[int, int]) -> Ends:
        """These ends, lowered to ``start`` where that is lower; what lies between is matched."""
        lower = {p: o for p, o in self.next.items() if start.get(p, 0) < o}
        return replace(
            self,
            next={p: min(o, start.get(p, 0)) for p, o in self.next.items()},
            held={**self.held, **{p: max(o, self.held.get(p, 0)) for p, o in lower.items()}},
        )

    def past(self, gaps: tuple[Lost, ...], topic: Topic) -> Ends:
        """The ends beyond the gaps: where ``topic`` goes on. What is lost is remembered."""
        first = {p: o for p, (o, _) in topic.ranges.items()}
        expired = {gap.partition for gap in gaps if gap.kind == EXPIRED}
        again = {gap.partition: gap.again for gap in gaps if gap.again is not None}
        moved = {**again, **{p: first[p] for p in expired}}
        anew = topic.id != self.topic_id
        lost = tuple(gap for gap in gaps if gap.offsets != 0)
        return replace(
            self,
            topic_id=topic.id,
            next=first if anew else {**self.next, **moved},
            held={p: o for p, o in self.held.items() if p not in again},
            first={p: o for p, o in self.first.items() if not anew and o < again.get(p, o + 1)},
            batch=max([self.batch, *(gap.batch for gap in lost)]),
            lost=(*self.lost, *lost),
        )

    def are_above(self) -> str:
        """SQL that holds for addresses at or above the ends of their partition."""
        below = [f'("partition" = {p} AND "offset" < {o})' for p, o in self.next.items()]
        return f"NOT ({' OR '.join(below)})" if below else "true"

    def are_of_now(self, of: str = "", *, by_id: bool = False) -> str:
        """SQL that holds for rows of the topic's present log: of none that is gone.

        ``of`` goes before each column: ``"t."`` where others have such columns too.
        ``by_id`` is for rows that have a ``topic_id``, null where nobody recorded it.
        """
        gone = self._gone(of)
        now = f"NOT ({' OR '.join(gone)})" if gone else "true"
        if by_id and self.topic_id:
            id_ = text(self.topic_id)
            now += f" AND coalesce({of}topic_id, {id_}) = {id_}"
        return now

    def logs_gone(self, of: str = "") -> str:
        """SQL for how many logs have gone since a row: the same for all rows of one log."""
        return " + ".join(f"CAST({gone} AS INTEGER)" for gone in self._gone(of)) or "0"

    def _gone(self, of: str) -> list[str]:
        """For each log that is gone, SQL that holds for rows of it or of an older one."""
        return [
            f'({of}"partition" = {gap.partition} AND {of}"offset" >= {gap.again} '
            f"AND coalesce({of}batch_id, 0) <= {gap.batch})"
            for gap in self.lost
            if gap.again is not None
        ]


def gaps(ends: Ends, topic: Topic) -> tuple[Lost, ...]:
    """The gaps between the ends and the topic's first offsets; empty where there are none.

    An empty table has no gap: it begins where the topic begins.
    """
    if not ends.next:
        return ()
    found = []
    batch = ends.batch + 1
    anew = topic.id != ends.topic_id
    if anew:
        for partition, held in sorted(ends.next.items()):
            found.append(Lost(RECREATED, ends.topic_id, partition, held, None, None, batch, 0))
    for partition, (first, after) in sorted(topic.ranges.items()):
        held = 0 if anew else ends.next.get(partition, 0)
        if held < first:
            size = first - held
            found.append(Lost(EXPIRED, topic.id, partition, held, first, size, batch))
        elif held > after:
            found.append(Lost(ROLLED_BACK, topic.id, partition, held, None, None, batch, after))
    return tuple(found)


def _time(told: str | None) -> datetime | None:
    return datetime.fromisoformat(told).astimezone(UTC) if told else None


def _offsets(note: Mapping[str, Any]) -> dict[int, int]:
    return {int(p): int(o) for p, o in note.items()}
