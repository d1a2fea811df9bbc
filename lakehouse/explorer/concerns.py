"""What a person should know of a lake now, each with what to do: nothing where all is well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

from lakehouse.audit.proof import Verdict
from lakehouse.core.disk import MAKE_ROOM
from lakehouse.explorer.observed import Seen

LONG = timedelta(minutes=5)
"""A follower whose version is older than this, while bronze has a newer one, is behind."""


@dataclass(frozen=True)
class Concern:
    """One matter: how grave, in words, and the remedy."""

    level: Literal["bad", "look"]
    what: str
    fix: str

    def as_dict(self) -> dict[str, str]:
        """Field → value."""
        return asdict(self)


def concerns(seen: Seen) -> list[Concern]:
    """The gravest first."""
    found = [*_unread(seen), *_audits(seen), *_behind(seen), *_disks(seen), *_idle(seen)]
    return sorted(found, key=lambda concern: concern.level != "bad")


def _unread(seen: Seen) -> Iterator[Concern]:
    for name, fault in seen.faults.items():
        yield Concern("bad", f"{name}: {fault}", f"lakehouse repair {name}")
    notes = [row.note for row in seen.flows if row.flow in _running(seen)]
    for note in dict.fromkeys(note for note in notes if note not in {"", "nothing yet"}):
        yield Concern("bad", note, "flows wait for it as [services] patience says: start it again")


def _audits(seen: Seen) -> Iterator[Concern]:
    for name, kept in seen.audits.items():
        if kept and kept[0].verdict != Verdict.PROVEN.value:
            reason = f": {kept[0].reasons[0]}" if kept[0].reasons else ""
            level: Literal["bad", "look"] = (
                "bad" if kept[0].verdict == Verdict.NOT_PROVEN.value else "look"
            )
            yield Concern(level, f"the last audit of {name} says {kept[0].verdict}{reason}",
                          f"lakehouse audit {name}")  # fmt: skip


def _behind(seen: Seen) -> Iterator[Concern]:
    for flow in dict.fromkeys(row.flow for row in seen.flows):
        ages = [
            seen.at.timestamp() - since
            for row in seen.flows
            if row.flow == flow and row.behind and (since := _since(row.time)) is not None
        ]
        if ages and max(ages) > LONG.total_seconds():
            yield Concern(
                "bad" if flow in _running(seen) else "look",
                f"{flow} is behind bronze: its oldest table shows it as it was "
                f"{max(ages) / 60:,.0f} minutes ago",
                f"lakehouse run {flow}",
            )


def _disks(seen: Seen) -> Iterator[Concern]:
    for room in seen.disks:
        if room.is_short:
            yield Concern("bad", f"the disk is short: {room.told()}", MAKE_ROOM)


def _idle(seen: Seen) -> Iterator[Concern]:
    if seen.landings and not seen.locks:
        yield Concern(
            "look", "no process writes this lake now: the numbers are those of the last run",
            "lakehouse up",
        )  # fmt: skip


def _running(seen: Seen) -> set[str]:
    """The flows that hold locks: a process's holder names all of its own."""
    return {flow for holder in seen.locks.values() for flow in holder.split("+")}


def _since(time: str | None) -> float | None:
    return datetime.fromisoformat(time).timestamp() if time else None
