"""One topic, drained by each peer into a lake of its own, turn by turn."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.process import Run, python, run

TIMEOUT = 600
PEERS: Mapping[str, tuple[str, ...]] = {
    "stock Spark, bronze": ("bench.peers.stock",),
    "hand-written loop, bronze": ("bench.peers.loop",),
    "lakehouse, bronze": ("bench.peers.ours", "sales.bronze"),
    "lakehouse, bronze and silver": ("bench.peers.ours", "sales.bronze", "sales.silver"),
}


@dataclass(frozen=True)
class Drained:
    """One peer's runs: rows, and for each run seconds, CPU seconds and memory."""

    name: str
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
    root: Path, environment: Mapping[str, str], rows: int, rounds: int, say: Callable[[str], None]
) -> list[Drained]:
    """Every peer ``rounds`` times, interleaved, so that a slow minute meets them all."""
    runs: dict[str, list[Run]] = {name: [] for name in PEERS}
    for number in range(rounds):
        for name, words in PEERS.items():
            lake = root / "drain"
            shutil.rmtree(lake, ignore_errors=True)
            done = run(python(*words), {**environment, "LAKEHOUSE_LAKE_ROOT": str(lake)}, TIMEOUT)
            if int(done.answer["rows"]) != rows:
                raise RuntimeError(f"{name}: {done.answer['rows']} rows of {rows}")
            runs[name].append(done)
            say(
                f"  {number + 1}/{rounds} {name}: {rows / float(done.answer['seconds']):,.0f} "
                f"rows/s, {done.cpu_seconds:.0f} CPU s, {done.peak_mb:,.0f} MB"
            )
    shutil.rmtree(root / "drain", ignore_errors=True)
    return [Drained(name, rows, tuple(found)) for name, found in runs.items()]
