"""Topics of one content in several habits, each drained by its peers, turn by turn."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.events import Habit
from bench.process import Run, python, run

TIMEOUT = 1_800
STOCK, LOOP, CAREFUL = "stock Spark, bronze", "fast loop, bronze", "careful loop, bronze"
BRONZE, BOTH = "lakehouse, bronze", "lakehouse, bronze and silver"
PEERS: Mapping[str, tuple[str, ...]] = {
    STOCK: ("bench.peers.stock",),
    LOOP: ("bench.peers.loop", "fast"),
    CAREFUL: ("bench.peers.loop", "careful"),
    BRONZE: ("bench.peers.ours", "sales.bronze"),
    BOTH: ("bench.peers.ours", "sales.bronze", "sales.silver"),
}
TURNS: Mapping[Habit, tuple[str, ...]] = {
    Habit.COMPACT: tuple(PEERS),
    Habit.SPACED: (CAREFUL, BRONZE),
    Habit.REORDERED: (CAREFUL, BRONZE),
    Habit.BROKEN: (BRONZE, BOTH),
}
"""Who drains which topic: a broken record ends the loops, so theirs are whole."""


@dataclass(frozen=True)
class Drained:
    """One peer's runs: rows, and for each run seconds, CPU seconds and memory."""

    name: str
    habit: Habit
    rows: int
    runs: tuple[Run, ...]

    def rates(self) -> list[float]:
        """Rows a second of each run, from Spark's being ready to the last commit."""
        return sorted(self.rows / float(r.answer["seconds"]) for r in self.runs)

    def whole_rates(self) -> list[float]:
        """The same with the process's own start: JVM, imports, session."""
        return sorted(self.rows / r.seconds for r in self.runs)

    @property
    def cpu_seconds(self) -> float:
        """Median."""
        return median(r.cpu_seconds for r in self.runs)

    @property
    def peak_mb(self) -> float:
        """The worst."""
        return max(r.peak_mb for r in self.runs)


def drain(
    root: Path,
    environment: Mapping[str, str],
    topics: Mapping[Habit, tuple[str, int]],
    rounds: int,
    say: Callable[[str], None],
) -> list[Drained]:
    """Every peer ``rounds`` times, interleaved, so that a slow minute meets them all.

    ``topics`` are the name of each habit's topic and the count of its records.
    """
    turns = [(habit, name) for habit in topics for name in TURNS[habit]]
    runs: dict[tuple[Habit, str], list[Run]] = {turn: [] for turn in turns}
    for number in range(rounds):
        for habit, name in turns:
            lake, (topic, rows) = root / "drain", topics[habit]
            shutil.rmtree(lake, ignore_errors=True)
            own = {"LAKEHOUSE_LAKE_ROOT": str(lake), "LAKEHOUSE_SALES_TOPIC": topic}
            done = run(python(*PEERS[name]), {**environment, **own}, TIMEOUT)
            if int(done.answer["rows"]) != rows:
                raise RuntimeError(f"{name}, {habit}: {done.answer['rows']} rows of {rows}")
            runs[habit, name].append(done)
            say(
                f"  {number + 1}/{rounds} {name}, {habit}: "
                f"{rows / float(done.answer['seconds']):,.0f} "
                f"rows/s, {done.cpu_seconds:.0f} CPU s, {done.peak_mb:,.0f} MB"
            )
    shutil.rmtree(root / "drain", ignore_errors=True)
    return [
        Drained(name, habit, topics[habit][1], tuple(found))
        for (habit, name), found in runs.items()
    ]
