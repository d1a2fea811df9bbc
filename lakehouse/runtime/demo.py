"""What every product's demo is given, including a lake of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

from lakehouse.core.errors import TableLocked, UsageError
from lakehouse.core.files import remove
from lakehouse.core.lock import one_at_a_time, write_locks
from lakehouse.core.paths import IDENTITY, Lake
from lakehouse.core.progress import advance
from lakehouse.core.text import Say
from lakehouse.ingest.landing import Landed
from lakehouse.products.registry import flows
from lakehouse.settings.settings import Service, Settings

MARK = "made-by-demo"
"""Marks the root of a lake that a demo made, and that a demo may remove."""


@dataclass(frozen=True)
class Stage:
    """A demo's settings, and the services that it may start."""

    settings: Settings
    say: Say
    broker: Service
    database: Service
    empty_services: Callable[[Path], None]
    """Removes what the embedded services of a lake hold."""
    start_session: Callable[[Settings, str], Callable[[], SparkSession]]
    count: int
    """How many events to generate."""
    replay: Path | None
    """A file to send instead of generated events; a demo that takes no file refuses it."""
    later: ExitStack
    """Closed when the demo has ended."""

    def empty_lake(self) -> Path:
        """The emptied root of the demo's own lake; call it once the options have been checked.

        Until the demo ends no other one gets this root. UsageError if the root holds something
        that no demo made, TableLocked if another demo has it.
        """
        root = Path(self.settings.lake.root)
        _own(root)
        if not self.later.enter_context(one_at_a_time(root / MARK, wait=False)):
            raise TableLocked(
                str(root), "another demo is making it", "wait for it, or give another --root"
            )
        fresh(root, self.settings)
        self.empty_services(root)
        return root

    def in_batches(self, settings: Settings, total: int) -> Settings:
        """Settings by which so many records land in about four batches; more are slower.

        A batch takes a share of each partition, rounded down: without some more a fifth batch
        would have the last few.
        """
        return settings.changed(stream={"max_records_per_batch": max(1000, total // 4 + 100)})

    def say_stopping(self) -> None:
        """Say that a stop was received, and what it waits for: a demo shows no log of it."""
        self.say("stopping: what is in hand is finished first")

    def say_done(self, seconds: float, *commands: str) -> None:
        """Say how long it took, and what to try next."""
        self.say(f"done in {seconds:.0f} s. Now try:")
        for command in commands:
            self.say(f"  {command}")


class BatchLines:
    """Says one line a batch: what it landed where, and how much of all that was sent is done."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say, self._done = total, say, 0

    def __call__(self, landed: Landed) -> None:
        self._done += landed.good + landed.bad
        self._say(
            f"  {self._done:>9,} of {self._total:,}: bronze +{landed.good:,}, quarantine "
            f"+{landed.bad:,}, late {landed.late:,}, duplicates {landed.duplicates:,}"
        )
        advance("landing", self._done, self._total, "records")


def fresh(root: Path, settings: Settings) -> None:
    """The root, emptied once no process writes to it; UsageError if no demo made what it holds.

    TableLocked if another process writes one of its tables. The mark, the id and the locks stay,
    so that after a crash half way the next demo may still remove the rest.
    """
    lake = Lake(str(root))
    _own(root)
    with _as_a_lake(root):
        kept = {root.absolute() / name for name in (MARK, IDENTITY)}
        if {*root.absolute().iterdir()} - kept:
            tables = {table for f in flows() for table in f.tables}
            tables |= {path.name.removesuffix(".lock") for path in lake.locks.glob("*.lock")}
            wait = settings.publish.lock_timeout
            with write_locks(lake.locks, tables, "demo", wait, mends=True):
                for path in {*root.absolute().iterdir()} - {*kept, lake.locks}:
                    remove(path)


def _own(root: Path) -> None:
    """Make the root, or find that a demo made it; UsageError if none did."""
    with _as_a_lake(root):
        if root.exists() and any(root.iterdir()) and not (root / MARK).is_file():
            raise UsageError(str(root), "holds something that no demo made", "give another --root")
        root.mkdir(parents=True, exist_ok=True)
        (root / MARK).touch()


@contextmanager
def _as_a_lake(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            str(root), f"cannot be a lake: {error.strerror}", "give another --root"
        ) from None
