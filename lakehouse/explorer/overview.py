"""What ``lakehouse status`` shows: the numbers of the pipeline's page, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from lakehouse.explorer.concerns import concerns
from lakehouse.explorer.freshness import Ages
from lakehouse.explorer.observed import Commit, Seen
from lakehouse.explorer.status import Status

_MINUTE = 60.0


_FIRST = ("flow", "into", "behind", "note", "rows_behind", "waiting", "partitions")
"""Columns that one watches for: where there is no room, those after them are left out first."""


def overview(seen: Seen, *, is_whole: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Section → rows: what needs a person, what landed, and how far each flow is.

    So that they fit on one screen, a flow's tables are one row, of the one that is the farthest
    behind, ``+`` how many there are beside it, and those of which something is noted another;
    with ``is_whole`` each is a row.
    """
    flows = seen.flows if is_whole else [*_together(seen.flows)]
    found = {
        "landed": [_landed(name, seen) for name in seen.landings],
        "flows": [_ordered(asdict(row)) for row in flows],
        "disk": [{"folder": str(room.folder), "told": room.told()} for room in seen.disks],
    }
    if told := [asdict(concern) for concern in concerns(seen)]:
        found = {"concerns": told, **found}
    return found


def _together(rows: Iterable[Status]) -> Iterator[Status]:
    alike: dict[tuple[str, str], list[Status]] = {}
    for row in rows:
        alike.setdefault((row.flow, row.note), []).append(row)
    for same in alike.values():
        last = max(same, key=lambda row: (row.behind or 0, row.rows_behind or 0))
        more = f" +{len(same) - 1}" if len(same) > 1 else ""
        yield replace(last, into=f"{last.into}{more}")


def _ordered(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in (*_FIRST, *(n for n in row if n not in _FIRST))}


def _landed(name: str, seen: Seen) -> dict[str, Any]:
    landing, audits = seen.landings[name], seen.audits.get(name, ())
    late, duplicates = seen.late.get(name, (None, None))
    info, faults = seen.tables.get(f"bronze.{name}"), seen.quarantine.get(name)
    applied = next(filter(None, landing.applied.values()), None)
    return {
        "contract": name,
        "rows": info.rows if info else None,
        "quarantined": None if faults is None else sum(faults.values()),
        "last_batch": landing.recent[-1].time if landing.recent else None,
        "last_audit": audits[0].verdict if audits else None,
        "in_silver_after": _ages(applied),
        "rows_a_second": _rate(landing.recent, seen.at),
        "late": late,
        "duplicates": duplicates,
        "in_bronze_after": _ages(landing.landed),
    }


def _rate(recent: Iterable[Commit], now: datetime) -> str:
    """Records a second in the last minute, good and bad."""
    rows = sum(c.rows + c.quarantined for c in recent if (now - c.time).total_seconds() < _MINUTE)
    return f"{rows / _MINUTE:,.1f}"


def _ages(ages: Ages | None) -> str | None:
    """How old events are when they are there: half of them, and 19 of 20, are younger."""
    return None if ages is None else f"{_span(ages.p50)}, p95 {_span(ages.p95)}"


def _span(seconds: float) -> str:
    """Seconds in the unit in which a person reads them."""
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.2f} s"
