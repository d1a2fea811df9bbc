"""The lake of one try, read from its files alone: how far it is, and what a kill left in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lakehouse.core.paths import Lake
from lakehouse.model.flow import ParquetFlow, SilverFlow
from lakehouse.model.product import Product
from lakehouse.sinks.parquet_files import taken

Ends = Mapping[str, Mapping[int, int]]
"""Contract → partition → the offset after its last record."""


class LakeOfTry:
    """The tables of a product."""

    def __init__(self, root: Path, product: Product) -> None:
        self._root, self._flows = root, product.flows

    def table(self, name: str) -> str:
        """A table's folder."""
        return Lake(str(self._root)).table(name)

    def holds(self, target: Ends) -> bool:
        """Whether bronze has these offsets, and all that follows it that bronze."""
        return all(self._holds(contract, ends) for contract, ends in target.items())

    def _holds(self, contract: str, target: Mapping[int, int]) -> bool:
        if not any(target.values()):
            return True  # nothing was sent: bronze has no commit to tell of it
        reached = None
        for version, note in self._notes(f"bronze.{contract}"):
            if "ends" in note:
                held = note["ends"]["next"]
                if any(held.get(str(p), 0) < end for p, end in target.items()):
                    break
                reached = version
        if reached is None:
            return False
        applied = [*self._applied(contract)]
        return all(version is not None and version >= reached for version in applied)

    def _applied(self, contract: str) -> Iterator[int | None]:
        """The version of bronze that each aggregate, or else silver table, and Parquet have."""
        for flow in self._flows:
            if flow.product != contract:
                continue
            if isinstance(flow, SilverFlow):
                for table in [flow.table(a.name) for a in flow.aggregates] or flow.tables:
                    sources = (n["source"] for _, n in self._notes(table) if "source" in n)
                    yield next((int(source["version"]) for source in sources), None)
            elif isinstance(flow, ParquetFlow):
                folder = Path(self.table(flow.table))
                applied = taken(folder)
                yield applied.version if applied else None

    def _notes(self, table: str) -> Any:
        """(version, note) of a table's commits, the newest first."""
        log = Path(self.table(table), "_delta_log")
        entries = sorted(log.glob("*.json"), reverse=True) if log.is_dir() else []
        for entry in entries:
            try:
                actions = [json.loads(line) for line in entry.read_text("utf-8").splitlines()]
            except (OSError, ValueError):
                continue
            for action in actions:
                if "commitInfo" in action:
                    yield (
                        int(entry.stem),
                        json.loads(action["commitInfo"].get("userMetadata", "{}")),
                    )

    def orphans(self) -> list[Path]:
        """Data files younger than their table's last commit: what a kill in mid-write leaves."""
        found = []
        for log in self._root.glob("*/*/_delta_log"):
            last = max((e.stat().st_mtime_ns for e in log.glob("*.json")), default=0)
            files = log.parent.rglob("*.parquet")
            found += [f for f in files if f.stat().st_mtime_ns > last and log not in f.parents]
        return found
