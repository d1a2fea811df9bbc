"""Windows and sessions: kinds of silver state that follow the time of events.

Both are bounded by the watermark. A window or a session is final once no event that is
not late can change it any more; its table says so in ``is_final``, and the state forgets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from lakehouse.core.errors import DeclarationError

if TYPE_CHECKING:
    from lakehouse.model.flow import Aggregate

Late = Literal["drop", "correct"]
START, END, DATE, FINAL = "window_start", "window_end", "window_date", "is_final"
"""Columns of every table of windows."""
TIMEOUTS = "timeouts"
"""What commits of a flow say that its sessions were divided by: table → microseconds."""
EXACT = "exact"
"""What commits of a flow say was counted exactly, as settings asked: table → columns."""
_LAST, _BACK = "window_last", "window_back"
_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True)
class Window:
    """Half-open windows of ``size``, one ``every`` so often, aligned to the epoch, in UTC.

    Without ``every`` they tumble: each event is in one. With it they slide, and each event
    is in ``size / every`` of them. ``late`` says whether events that came after the
    watermark had passed them are left out (``drop``), or counted all the same (``correct``).
    """

    size: timedelta
    every: timedelta | None = None
    late: Late = "drop"
    time: str = "event_time"
    """Column with the time that counts."""

    def __post_init__(self) -> None:
        if self.size <= timedelta(0) or self.step <= timedelta(0) or self.size % self.step:
            raise DeclarationError(
                "a window", f"is of {self.size}, one every {self.step}",
                "let size be a whole number of times every, and both above 0",
            )  # fmt: skip
        if self.late not in {"drop", "correct"}:
            raise DeclarationError("a window", f"late is {self.late!r}", "use 'drop' or 'correct'")

    @property
    def step(self) -> timedelta:
        """From the start of a window to that of the next."""
        return self.every or self.size

    def over(self, aggregate: Aggregate) -> Aggregate:
        """The aggregate by window: its table has ``window_start``, ``window_end`` and ``is_final``.

        It is partitioned by the date of the start. ``aggregate`` has keys and measures over
        rows, and perhaps ratios.
        """
        from lakehouse.model.flow import Measure  # noqa: PLC0415  # which imports this module

        if aggregate.exact and self.late == "correct":
            raise DeclarationError(
                f"table {aggregate.name!r}", "late events would correct counts that are exact, and "
                "which values a final window has is forgotten",
                "use late='drop', or an Estimate",
            )  # fmt: skip
        start = f"({_LAST} - {_BACK} * {_interval(self.step)})"
        backs = ", ".join(f"({n})" for n in range(self.size // self.step))
        is_final = Measure(
            "max(false)", "BOOLEAN", "max", "whether the watermark has passed window_end"
        )
        drops = " AND NOT is_late" if self.late == "drop" else ""
        return replace(
            aggregate,
            window=self,
            keys={
                START: (start, "TIMESTAMPTZ"),
                END: (f"{start} + {_interval(self.size)}", "TIMESTAMPTZ"),
                **{name: (name, kind) for name, (_, kind) in aggregate.keys.items()},
                DATE: (f"CAST({start} AS DATE)", "DATE"),
            },
            docs={
                START: "the first moment of the window",
                END: "the first moment after it",
                **(aggregate.docs or {}),
                DATE: "UTC date of window_start; partition",
            },
            measures={**aggregate.measures, FINAL: is_final},
            where=f"({aggregate.where}){drops}",
            slice={
                _LAST: f"time_bucket({_interval(self.step)}, {self.time}, "
                "TIMESTAMPTZ '1970-01-01 00:00:00+00')",
                **{name: sql for name, (sql, _) in aggregate.keys.items()},
            },
            explode=f"CROSS JOIN (VALUES {backs}) AS w({_BACK})",
            partition=DATE,
        )


@dataclass(frozen=True)
class Session:
    """What one key does in one go: its events in order of time, until it ends or falls silent.

    A session goes from its first event to the next one that ``ends`` it, or to the last
    before a silence longer than ``timeout``. Events at the moment at which it ends belong to
    it; nothing depends on the order of arrival. Late events are left out.
    """

    name: str
    key: str
    """A text field."""
    ends: str
    """Which events end a session."""
    counts: Mapping[str, tuple[str, str]]
    """Column → (which events it counts, what it says)."""
    timeout: timedelta | str
    """A duration, or the key of the product's section in config.ini that has it."""
    doc: str
    where: str = "true"
    """Which events belong to sessions."""
    time: str = "event_time"
    key_doc: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """Column → SQL type of its table."""
        return {
            self.key: "VARCHAR", "session_start": "TIMESTAMPTZ", "session_end": "TIMESTAMPTZ",
            "duration_seconds": "DECIMAL(18,3)", **dict.fromkeys(self.counts, "BIGINT"),
            "ended": "VARCHAR", FINAL: "BOOLEAN", "session_date": "DATE",
        }  # fmt: skip

    @property
    def docs(self) -> dict[str, str]:
        """Column → what it says."""
        return {
            self.key: self.key_doc,
            "session_start": "time of its first event",
            "session_end": "time of its last event",
            "duration_seconds": "session_end less session_start, in whole milliseconds",
            **{name: doc for name, (_, doc) in self.counts.items()},
            "ended": "`end`: by an event that ends it; `timeout`: by a silence, known from a later "
            "event or the watermark; `open`: not yet",
            FINAL: "whether the watermark has passed all that could change it",
            "session_date": "UTC date of session_start; partition",
        }


def _interval(length: timedelta) -> str:
    return f"INTERVAL '{length // _MICRO} microseconds'"
