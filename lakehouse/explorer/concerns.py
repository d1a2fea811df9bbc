"""What a person should know of a lake now, each with what to do: nothing where all is well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from shlex import quote
from typing import Literal

from lakehouse.audit.proof import Verdict
from lakehouse.core.disk import MAKE_ROOM
from lakehouse.core.paths import root_option
from lakehouse.explorer.observed import Seen
from lakehouse.explorer.status import ASLEEP
from lakehouse.model.flow import BronzeFlow, SilverFlow
from lakehouse.products.registry import flows

LONG = timedelta(minutes=5)
"""A follower whose version is older than this, while bronze has a newer one, is behind."""
MANY, PERCENT, GROWING = 100, 1.0, timedelta(minutes=15)
"""More records than these in quarantine, and more than this share of what came in so long, are
too many: as deploy/prometheus has it."""
LAG, OLD = 1_000_000, timedelta(days=2)
"""More records than these of a topic, and an audit of so long ago: as deploy/prometheus has it."""
AHEAD = timedelta(minutes=5)
"""What is so much later than now was written by a clock that is wrong."""


@dataclass(frozen=True)
class Concern:
    """One concern: how grave it is, what it is, and the remedy."""

    level: Literal["bad", "look"]
    what: str
    fix: str


def concerns(seen: Seen) -> list[Concern]:
    """The gravest first."""
    return [*ailments(seen), *_idle(seen)]


def ailments(seen: Seen) -> list[Concern]:
    """The same but that nothing runs, which is no illness."""
    found = [
        *_unread(seen), *_gone(seen), *_away(seen), *_audits(seen), *_waiting(seen), *_behind(seen),
        *_quarantine(seen), *_disks(seen), *_clocks(seen),
    ]  # fmt: skip
    return sorted(found, key=lambda concern: concern.level != "bad")


def _unread(seen: Seen) -> Iterator[Concern]:
    for name, fault in seen.faults.items():
        what = fault.removeprefix(f"table {name}: ")
        verb = "rebuild" if name.startswith("silver.") else "repair"
        yield Concern("bad", f"{name}: {what}", f"lakehouse {verb} {quote(name)} {_root(seen)}")


def _gone(seen: Seen) -> Iterator[Concern]:
    """Bronze that is not there, though what follows it is."""
    for writer in (f for f in flows() if isinstance(f, BronzeFlow)):
        bronze, quarantine = f"bronze.{writer.product}", f"quarantine.{writer.product}"
        made = [name for f in flows() if f.product == writer.product and isinstance(f, SilverFlow)
                for name in f.tables]  # fmt: skip
        left = next((name for name in (*made, quarantine) if name in seen.tables), None)
        if left and bronze not in seen.tables and bronze not in seen.faults:
            yield Concern(
                "bad",
                f"{bronze} is not there, though {left} is: its folder or its log was removed",
                f"put it back, or all from a backup: lakehouse restore BACKUP {_root(seen)}",
            )  # fmt: skip


def _away(seen: Seen) -> Iterator[Concern]:
    """What a flow needs and does not find: grave where it runs; else what is only not started."""
    running, told = _running(seen), set[str]()
    for row in sorted(seen.flows, key=lambda row: row.flow not in running):
        if row.note in {"", "nothing yet", *told} or (
            row.flow not in running and row.note.endswith(ASLEEP)
        ):
            continue
        told.add(row.note)
        fix = "start it, or mend its address in config.ini"
        if row.note.startswith("topic "):
            product = row.into.partition(".")[2]
            fix = f"if that was meant: lakehouse accept-gap {quote(product)} {_root(seen)}"
        elif row.flow in running:
            fix = "flows wait for it as [services] patience says: start it again"
        yield Concern("bad" if row.flow in running else "look", row.note, fix)


def _audits(seen: Seen) -> Iterator[Concern]:
    for name, kept in seen.audits.items():
        landed = _last_batch(seen, name)
        if kept and landed and seen.at - kept[0].audited_at > OLD and landed > kept[0].audited_at:
            yield Concern(
                "look",
                f"{name} was not audited for {(seen.at - kept[0].audited_at).days} days, and has "
                "landed more since",
                f"lakehouse audit {name} --keep {_root(seen)}, from cron or dags/",
            )
        if kept and kept[0].verdict != Verdict.PROVEN.value:
            reason = f": {kept[0].reasons[0]}" if kept[0].reasons else ""
            level: Literal["bad", "look"] = (
                "bad" if kept[0].verdict == Verdict.NOT_PROVEN.value else "look"
            )
            yield Concern(level, f"the last audit of {name} says {kept[0].verdict}{reason}",
                          f"lakehouse audit {name} {_root(seen)}")  # fmt: skip


def _waiting(seen: Seen) -> Iterator[Concern]:
    """Records of a topic that bronze has not landed."""
    for row in seen.flows:
        if not row.waiting:
            continue
        landed = _last_batch(seen, row.into.partition(".")[2])
        wait = f"{row.waiting:,} records of its topic wait"
        if row.flow not in _running(seen):
            yield Concern(
                "look",
                f"{row.flow} does not run: {wait}",
                f"lakehouse run {row.flow} {_root(seen)}",
            )
        elif landed and seen.at - landed > LONG:
            yield Concern(
                "look",
                f"{row.flow} runs, but {wait} and its last batch is "
                f"{(seen.at - landed).total_seconds() / 60:,.0f} minutes old",
                f"where it stays so, its process hangs: end it (_locks/{row.into}.lock names it), "
                f"then lakehouse run {row.flow} {_root(seen)}",
            )
        elif row.waiting > LAG:
            most = max(row.partitions, key=lambda number: row.partitions[number])
            yield Concern(
                "look",
                f"{row.flow} lags: {wait}, {row.partitions[most]:,} in partition {most}",
                "where that grows, flows need more of this machine, or the topic more partitions",
            )


def _behind(seen: Seen) -> Iterator[Concern]:
    running = _running(seen)
    writers = {f.product: f.name for f in flows() if isinstance(f, BronzeFlow)}
    writer_of = {f.name: writers.get(f.product) for f in flows()}
    for flow in dict.fromkeys(row.flow for row in seen.flows):
        behind = [row for row in seen.flows if row.flow == flow and row.behind]
        ages = [
            seen.at.timestamp() - since for row in behind if (since := _since(row.time)) is not None
        ]
        if ages and flow not in running and (writer := writer_of.get(flow)) in running:
            rows = max(row.rows_behind or 0 for row in behind)
            yield Concern(
                "bad" if max(ages) > LONG.total_seconds() else "look",
                f"{flow} does not run, while {writer} does: it lacks {rows:,} rows",
                f"lakehouse run {flow} {_root(seen)}",
            )
            continue
        if ages and max(ages) > LONG.total_seconds():
            yield Concern(
                "bad" if flow in running else "look",
                f"{flow} is behind bronze: its oldest table shows it as it was "
                f"{max(ages) / 60:,.0f} minutes ago",
                f"lakehouse run {flow} {_root(seen)}",
            )


def _quarantine(seen: Seen) -> Iterator[Concern]:
    for name, landing in seen.landings.items():
        recent = [c for c in landing.recent if seen.at - c.time < GROWING]
        if (count := sum(c.quarantined for c in recent)) <= MANY:
            continue
        share = 100 * count / sum(c.rows + c.quarantined for c in recent)
        if share <= PERCENT:
            continue
        faults = seen.quarantine.get(name) or {}
        most = max(faults, key=lambda fault: faults[fault], default=("", ""))
        often = f", most often {' '.join(filter(None, most))}" if any(most) else ""
        yield Concern(
            "look",
            f"quarantine of {name} grows: {count:,} records in {GROWING.seconds // 60} minutes, "
            f"{share:.1f} % of what came{often}",
            f"lakehouse quarantine stats {name} {_root(seen)}; has the producer changed?",
        )


def _disks(seen: Seen) -> Iterator[Concern]:
    for room in seen.disks:
        if room.is_short:
            yield Concern("bad", f"the disk is short: {room.told()}", MAKE_ROOM)


def _clocks(seen: Seen) -> Iterator[Concern]:
    for name, landing in seen.landings.items():
        for what, time, whose in (
            (f"the last batch of bronze.{name}", _last_batch(seen, name), "the writer's"),
            (f"the newest event of {name}", landing.newest_event, "a producer's"),
        ):
            if time and time - seen.at > AHEAD:
                minutes = (time - seen.at).total_seconds() / 60
                yield Concern(
                    "look",
                    f"{what} is {minutes:,.0f} minutes ahead of this machine's clock: it, or "
                    f"{whose}, is wrong",
                    "set the clocks (timedatectl status): what is late, and how fresh, is told by "
                    "them",
                )


def _idle(seen: Seen) -> Iterator[Concern]:
    if seen.landings and not seen.locks:
        yield Concern(
            "look", "no process writes this lake now: the numbers are those of the last run",
            f"lakehouse up {_root(seen)}",
        )  # fmt: skip


def _root(seen: Seen) -> str:
    return root_option(seen.root)


def _running(seen: Seen) -> set[str]:
    """The flows that hold locks: a process's holder names all of its own."""
    return {flow for holder in seen.locks.values() for flow in holder.split("+")}


def _last_batch(seen: Seen, name: str) -> datetime | None:
    landing = seen.landings.get(name)
    return landing.recent[-1].time if landing and landing.recent else None


def _since(time: str | None) -> float | None:
    return datetime.fromisoformat(time).timestamp() if time else None
