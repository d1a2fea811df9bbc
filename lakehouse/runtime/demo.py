"""What every product's demo is given, including a lake of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

from lakehouse.core.errors import UsageError
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import IDENTITY, Lake
from lakehouse.products.registry import flows
from lakehouse.runtime.driver import tables_of
from lakehouse.settings.settings import Settings

Service = Callable[[Settings], AbstractContextManager[Settings]]
"""Settings → settings that name a running service, given or started here."""
MARK = "made-by-demo"
"""Marks the root of a lake that a demo made, and that a demo may remove."""


@dataclass(frozen=True)
class Stage:
    """A demo's settings, and the services that it may start."""

    settings: Settings
    say: Callable[[str], None]
    broker: Service
    database: Service
    empty_services: Callable[[Path], None]
    """Removes what the embedded services of a lake hold."""
    start_session: Callable[[Settings, str], Callable[[], SparkSession]]
    count: int
    """How many events to generate."""
    replay: Path | None
    """A file to send instead of generated events; a demo that takes no file refuses it."""

    def empty_lake(self) -> Path:
        """The emptied root of the demo's own lake; call it once the options have been checked.

        UsageError if the root holds something that no demo made.
        """
        root = Path(self.settings.lake.root)
        fresh(root, self.settings)
        self.empty_services(root)
        return root

    def say_stopping(self) -> None:
        """Say that a stop was received, and what it waits for: a demo shows no log of it."""
        self.say("stopping: what is in hand is finished first")


def fresh(root: Path, settings: Settings) -> None:
    """The root, emptied once no process writes to it; UsageError if no demo made what it holds.

    TableLocked if another process writes one of its tables. The mark, the id and the locks stay,
    so that after a crash half way the next demo may still remove the rest.
    """
    lake = Lake(str(root))
    try:
        if root.exists() and any(root.iterdir()):
            if not (root / MARK).is_file():
                raise UsageError(
                    str(root), "holds something that no demo made", "give another --root"
                )
            tables = {table for f in flows() for table in tables_of(f)}
            tables |= {path.name.removesuffix(".lock") for path in lake.locks.glob("*.lock")}
            with write_locks(lake.locks, sorted(tables), "demo", settings.publish.lock_timeout):
                kept = {root.absolute() / name for name in (MARK, IDENTITY)}
                _clear(root.absolute(), {*kept, lake.locks})
        root.mkdir(parents=True, exist_ok=True)
        (root / MARK).touch()
    except OSError as error:
        raise UsageError(
            str(root), f"cannot be a lake: {error.strerror}", "give another --root"
        ) from None


def _clear(folder: Path, kept: set[Path]) -> None:
    for path in folder.iterdir():
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
