"""What ``run`` and ``up`` show on a terminal while flows run: one picture that is drawn again.

It is made of what the process counts (:mod:`lakehouse.core.metrics`) and of what it logs. Elsewhere
than on a terminal, and where [logging] asks for JSON, there are the lines of the log as ever.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lakehouse.core import metrics
from lakehouse.core.logging import handed_to
from lakehouse.core.text import narration, printable, say

if TYPE_CHECKING:
    from prometheus_client.registry import Collector
    from rich.console import Group
    from rich.text import Text

    from lakehouse.settings.settings import Settings

_EVERY, _WINDOW, _EVENTS = 0.5, 20, 6
"""Seconds from one picture to the next; pictures that rates and ages are of; lines of the log."""
_LOUD = ("warning", "error", "critical")
_WIDE = 100
"""Columns from which on there is room for all."""


@contextmanager
def panel(settings: Settings, title: str, flows: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """Draw while the caller runs flows; gives what tells an address to be shown with them."""
    if not sys.stderr.isatty() or settings.logging.format == "json":
        yield say
        return
    from rich.live import Live

    drawn = Panel(f"{title} · {printable(settings.lake.root)}", flows)
    ended = threading.Event()
    with Live(console=narration(), auto_refresh=False, redirect_stdout=False) as live:

        def draw() -> None:
            while not ended.wait(_EVERY):
                if drawn.has_begun():  # Java says this and that before, over what was drawn
                    live.update(drawn.picture(narration().width), refresh=True)

        thread = threading.Thread(target=draw, daemon=True)
        thread.start()
        try:
            with handed_to(drawn.take):
                yield drawn.tell
        finally:
            ended.set()
            thread.join()
            drawn.has_ended = True
            live.update(drawn.picture(narration().width), refresh=True)


class Panel:
    """The picture, and what it is drawn from; fed from any thread."""

    def __init__(self, title: str, flows: Sequence[str]) -> None:
        self._title, self._flows, self._began = title, flows, time.monotonic()
        self._events: deque[Text] = deque(maxlen=_EVENTS)
        self._told: list[str] = []
        self._seen: deque[tuple[float, dict[str, list[int]]]] = deque(maxlen=_WINDOW)
        self.has_ended = False

    def has_begun(self) -> bool:
        """Whether a flow runs."""
        return any(_by_label(metrics.RUNNING, "flow").values())

    def tell(self, text: str) -> None:
        """Show a line with the flows for as long as they run, once."""
        if (line := printable(text)) not in self._told:
            self._told.append(line)

    def take(self, line: Mapping[str, Any]) -> None:
        """A line of the log: shown for a while, and for good where it is a warning or worse."""
        from rich.text import Text

        level, told = str(line["level"]), {**line}
        head = f"{str(told.pop('timestamp', ''))[11:19]} {told.pop('event', '')}"
        del told["level"]
        rest = "  ".join(f"{name}={value}" for name, value in told.items())
        text = Text(printable(f"{head}  {rest}"), style="yellow" if level in _LOUD else "")
        if level in _LOUD:
            narration().print(text)
        self._events.append(text)

    def picture(self, width: int) -> Group:
        """The picture of now, of so many columns."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        self._seen.append((now, metrics.FRESHNESS.counts()))
        words = "ended" if self.has_ended else "Ctrl-C drains and ends"
        head = Text(f"{self._title} · {_span(now - self._began)} · {words}", style="bold")
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        columns = ("flow", "rows", "rows/s", "p50", "p95", "last")
        wide = (
            ("late", "duplicates", "quarantined", "waiting") if width >= _WIDE else ("quarantined",)
        )
        for name in (*columns, *wide):
            table.add_column(name, justify="left" if name == "flow" else "right", no_wrap=True)
        for flow in self._flows:
            cells = self._cells(flow)
            table.add_row(*(cells[name] for name in (*columns, *wide)))
        down = [name for name, up in _by_label(metrics.SERVICE_UP, "service").items() if not up]
        away = [Text(f"{name} does not answer: waited for", style="bold red") for name in down]
        told = [Text(line) for line in (() if self.has_ended else self._told)]
        lines = [Text(text.plain[:width], style=text.style) for text in self._events]
        return Group(head, table, *away, *told, *lines)

    def _cells(self, flow: str) -> dict[str, str]:
        (then, before), (now, counts) = self._seen[0], self._seen[-1]
        have = counts.get(flow, [])
        new = [a - b for a, b in zip(have, before.get(flow, [0] * len(have)), strict=True)]
        last = _by_label(metrics.LAST_BATCH, "flow").get(flow)
        quarantined = _by_label(metrics.ROWS, "flow", outcome="quarantine").get(flow)
        return {
            "flow": flow,
            "rows": f"{sum(have):,}",
            "rows/s": f"{sum(new) / (now - then):,.1f}" if now > then else "",
            "p50": _age(new, 0.50),
            "p95": _age(new, 0.95),
            "last": f"{max(0.0, time.time() - last):.1f} s" if last else "",
            "late": _count(_by_label(metrics.LATE, "flow").get(flow)),
            "duplicates": _count(_by_label(metrics.DUPLICATES, "flow").get(flow)),
            "quarantined": _count(quarantined),
            "waiting": _count(_by_label(metrics.WAITING, "flow").get(flow)),
        }


def _by_label(metric: Collector, label: str, **only: str) -> dict[str, float]:
    """The values of a counter or gauge by one of its labels, those with other labels as asked."""
    return {
        sample.labels[label]: sample.value
        for family in metric.collect()
        for sample in family.samples
        if all(sample.labels.get(name) == value for name, value in only.items())
    }


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _age(counts: Sequence[int], share: float) -> str:
    """The age below which a share of records is, taken to lie evenly within its bucket."""
    left = share * sum(counts)
    if not left:
        return ""
    for (low, high), count in zip(pairwise((0.0, *metrics.AGES)), counts, strict=False):
        if count >= left:
            return f"{low + (high - low) * left / count:.2f} s"
        left -= count
    return f"> {metrics.AGES[-1] / 60:.0f} min"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
