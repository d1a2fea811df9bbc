"""What a batch costs in silver when it knows few clients, and when it knows many."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process import python, run

TIMEOUT = 1_800
SIZES = (10_000, 1_000_000)
BATCHES = 150


@dataclass(frozen=True)
class Growth:
    """One size: seconds of a batch of 1,000 rows, a fifth of them of new clients; bytes."""

    clients: int
    fill: float
    """Seconds in which silver was made of three orders a client."""
    restart: float
    median: float
    mean: float
    worst: float
    bytes: float
    """Written to silver, an event."""
    silver: int
    state: int
    memory: float


def growth(root: Path, sizes: Sequence[int], say: Callable[[str], None]) -> list[Growth]:
    """Each size in a lake of its own, the follower in a process of its own."""
    found = []
    for clients in sizes:
        lake = root / f"growth-{clients}"
        words = (str(lake), str(clients), str(BATCHES))
        filled = run(python("bench.peers.follower", "fill", *words), {}, TIMEOUT).answer
        told = run(python("bench.peers.follower", "batches", *words), {}, TIMEOUT).answer
        names = ("restart", "median", "mean", "worst", "bytes", "silver", "state", "memory")
        one = Growth(clients, filled["seconds"], *(told[name] for name in names))
        say(
            f"  {clients:,} clients: {one.median * 1000:.0f} ms a batch, mean "
            f"{one.mean * 1000:.0f}, worst {one.worst * 1000:.0f}; restart {one.restart:.1f} s; "
            f"{one.bytes:,.0f} bytes an event; {one.memory:,.0f} MB"
        )
        found.append(one)
        shutil.rmtree(lake, ignore_errors=True)
    return found
