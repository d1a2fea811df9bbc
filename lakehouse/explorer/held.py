"""The catalogue of one that looks again and again: what was opened is brought up to date.

A table is looked at whole when it is first opened, and again where bringing it up to date fails.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.explorer.catalogue import Catalogue
from lakehouse.storage.log import entry
from lakehouse.storage.log_health import Log


class HeldCatalogue(Catalogue):
    """The newest versions of a lake's tables; any thread may ask."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._lock = threading.Lock()
        self._tables: dict[str, tuple[DeltaTable | None, tuple[int, int]]] = {}
        """Each with its version, and when that was written: another such entry is another table."""
        self._newest: dict[str, tuple[int, int]] = {}

    def open(self, name: str) -> DeltaTable:
        """As every catalogue."""
        uri = self.lake.table(name)
        with self._lock:
            table, (version, written) = self._tables.get(name, (None, (-1, 0)))
            if table is not None and _written(uri, version) == written:
                with suppress(DeltaError, OSError, ValueError):
                    table.update_incremental()
                    self._tables[name] = (table, _as_read(uri, table))
                    return table
            self._tables.pop(name, None)
            table = super().open(name)
            self._tables[name] = (table, _as_read(uri, table))
            return table

    def newest(self, uri: str) -> int | None:
        """The newest version of the table there; None where there is none."""
        if not Path(uri, "_delta_log").is_dir():
            self._newest.pop(uri, None)
            return None
        version, _ = self._newest[uri] = self._followed(uri)
        return version

    def state(self, name: str) -> tuple[int, int]:
        """What changes with a table: its newest version, and when that was written."""
        uri = self.lake.table(name)
        self._newest[uri] = found = self._followed(uri)
        return found

    def _followed(self, uri: str) -> tuple[int, int]:
        """From the version that was the newest on; where that is gone, as the folder lists it."""
        known = self._newest.get(uri)
        if known is None or _written(uri, known[0]) != known[1]:
            return self._looked(uri)
        version = known[0]
        while entry(uri, version + 1).exists():
            version += 1
        return version, _written(uri, version)

    def _looked(self, uri: str) -> tuple[int, int]:
        version = Log.of(uri).newest
        return version, _written(uri, version)


def _as_read(uri: str, table: DeltaTable) -> tuple[int, int]:
    version = int(table.version())
    return version, _written(uri, version)


def _written(uri: str, version: int) -> int:
    """When an entry was written, in ns; 0 where the log does not have it."""
    with suppress(OSError):
        return entry(uri, version).stat().st_mtime_ns
    return 0
