"""A reader of its own: when it sees that every small silver table holds a bronze version.

Prints one JSON line a step, {version, time}, until it is ended.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from deltalake import DeltaTable

from lakehouse.core.paths import Lake
from lakehouse.model.flow import SilverFlow
from lakehouse.products.sales.tables import FLOWS
from lakehouse.storage.metadata import NOTE

POLL_SECONDS = 0.005
LARGE = {"by_client", "product_trends"}
"""Tables that wait for their turn."""


class Watched:
    """One silver table, as another process sees it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._table: DeltaTable | None = None
        self.holds = -1

    def look(self) -> None:
        """Take in the newest commit, where there is one."""
        if self._table is None:
            if not DeltaTable.is_deltatable(self._uri):
                return
            self._table = DeltaTable(self._uri)
        elif not self._next().is_file():
            return
        self._table.update_incremental()
        note = json.loads(self._table.history(1)[0].get(NOTE) or "{}")
        self.holds = note.get("source", {}).get("version", self.holds)

    def _next(self) -> Path:
        version = self._table.version() + 1 if self._table else 0
        return Path(self._uri, "_delta_log", f"{version:020}.json")


def main(root: str) -> None:
    """Watch the silver tables of sales."""
    flow = next(f for f in FLOWS if isinstance(f, SilverFlow))
    tables = [Watched(Lake(root).table(flow.table(a.name))) for a in flow.aggregates
              if a.name not in LARGE]  # fmt: skip
    seen = -1
    while True:
        for table in tables:
            table.look()
        if (held := min(table.holds for table in tables)) > seen:
            seen = held
            print(json.dumps({"version": held, "time": time.time()}), flush=True)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
