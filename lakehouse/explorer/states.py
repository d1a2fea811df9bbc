"""How much each flow of silver has to know: its keys are never forgotten, so they are counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lakehouse.core.paths import Lake
from lakehouse.explorer.table_info import TableInfo
from lakehouse.model.flow import SilverFlow
from lakehouse.products.registry import products


@dataclass(frozen=True)
class StateInfo:
    """The state of one flow: keys in its tables of state, and bytes of the store made of them.

    ``keys`` is None where a table's files do not say how many rows they have.
    """

    flow: str
    keys: int | None
    bytes: int

    def told(self) -> str:
        """As text."""
        keys = "an unknown number of" if self.keys is None else f"{self.keys:,}"
        return f"{keys} keys, {self.bytes / 1e6:,.0f} MB on disk"


def states(lake: Lake, tables: Iterable[TableInfo]) -> Iterator[StateInfo]:
    """The state of each flow of which the lake has tables of state."""
    infos = {info.name: info for info in tables}
    for flow in (f for p in products().values() for f in p.flows if isinstance(f, SilverFlow)):
        aggregates = {flow.table(a.name) for a in flow.aggregates}
        aggregates |= {flow.table(s.name) for s in flow.sessions}
        held = [infos[name] for name in flow.tables if name in infos and name not in aggregates]
        if not held:
            continue
        rows = [info.rows for info in held]
        keys = None if None in rows else sum(row for row in rows if row)
        yield StateInfo(flow.name, keys, _size(lake.state(flow.name)))


def _size(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    found = (entry.stat(follow_symlinks=False) for entry in folder.iterdir())
    return sum(stat.st_blocks * 512 for stat in found)
