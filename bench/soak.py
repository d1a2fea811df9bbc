"""The flows left running under a steady load: freshness, memory and disk, minute by minute."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.freshness import Freshness, freshness
from bench.peers.follower import kept
from lakehouse.core.paths import Lake


@dataclass
class Minutes:
    """What was seen at the end of each minute, in MB."""

    lake: Lake
    say: Callable[[str], None]
    memory: list[float] = field(default_factory=list)
    silver: list[float] = field(default_factory=list)
    """Files and logs of silver."""
    whole: list[float] = field(default_factory=list)
    """All of the lake."""
    written: float = 0.0
    """Bytes that silver's commits added, and their log entries."""
    _seen: set[Path] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)

    def look(self, memory: float) -> None:
        """Take the memory; once a minute look at the disk."""
        self._read_logs()
        if time.monotonic() - self._began < 60 * (len(self.memory) + 1):
            return
        self.memory.append(memory)
        self.silver.append(kept(Path(self.lake.join("silver"))) / 1e6)
        self.whole.append(kept(Path(self.lake.root)) / 1e6)
        self.say(
            f"  minute {len(self.memory)}: memory {memory:,.0f} MB, silver "
            f"{self.silver[-1]:,.0f} MB of {self.whole[-1]:,.0f}"
        )

    def _read_logs(self) -> None:
        """Entries that came since: they may be gone by the end."""
        for entry in {*Path(self.lake.join("silver")).glob("*/_delta_log/*.json")} - self._seen:
            try:
                text = entry.read_text("utf-8")
            except FileNotFoundError:
                continue
            actions = map(json.loads, text.splitlines())
            self.written += len(text) + sum(a["add"]["size"] for a in actions if "add" in a)
            self._seen.add(entry)


def soak(
    root: Path,
    environment: Mapping[str, str],
    rate: int,
    minutes: float,
    clients: int,
    say: Callable[[str], None],
) -> tuple[Freshness, Minutes]:
    """Run sales' flows for so long at this rate, with so many clients who buy."""
    seen = Minutes(Lake(str(root)), say)
    shop = {"LAKEHOUSE_SALES_CLIENTS": str(clients)}
    return freshness(root, {**environment, **shop}, rate, minutes, seen.look), seen
