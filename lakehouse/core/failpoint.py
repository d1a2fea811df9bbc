"""Steps at which a process can be told to end itself as kill -9 would: for the crash matrix.

``LAKEHOUSE_FAILPOINT=bronze-committed:3`` ends the process when it comes to that
step for the third time. Without the variable a step costs one comparison.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from lakehouse.core.processes import started

VARIABLE = "LAKEHOUSE_FAILPOINT"


class Step(StrEnum):
    """Every step of the engine that has a failpoint, in the order of a batch.

    A product's source may have its own, in an enum that its declaration names as ``steps``.
    """

    OFFSETS_PLANNED = "offsets-planned"
    """Spark has planned a batch; nothing of it is read."""
    QUARANTINE_COMMITTED = "quarantine-committed"
    """The batch's bad records are committed; bronze is not."""
    BRONZE_FILES = "bronze-files"
    """Some of bronze's data files are there; their commit is not."""
    BRONZE_COMMITTED = "bronze-committed"
    """Bronze is committed; silver has not applied it."""
    SESSIONS_CHANGED = "sessions-changed"
    """Events of sessions are changed in a transaction of silver's state, which is not committed."""
    STATE_STORED = "state-stored"
    """Silver's state has the batch, and what it leaves of each table; no table has it."""
    SILVER_TABLE_COMMITTED = "silver-table-committed"
    """One silver table whose turn it is holds the batch; of the others, some may."""
    SILVER_FOLDED = "silver-folded"
    """Every silver table whose turn it is holds the batch; the state has not forgotten it."""
    FINER_DUE = "finer-due"
    """A finer table is about to be written back."""
    FINER_COMMITTED = "finer-committed"
    """A finer table is written back; of the others, some may be."""
    LEDGER_COMMITTED = "ledger-committed"
    """The ledger of late and duplicate events is written back."""
    COMPACTION_FILES = "compaction-files"
    """Some compacted files of a table are there; their commit is not."""
    COMPACTED = "compacted"
    """A table is compacted; its old files are still there."""
    VACUUMED = "vacuumed"
    """A table's old files are removed; its old log entries are not."""
    IDS_WRITTEN = "ids-written"
    """Runs of event ids are on disk; the store does not name them yet."""
    IDS_SAVED = "ids-saved"
    """The store of event ids is of bronze's version; runs that were merged are still there."""
    REPLAY_MARKED = "replay-marked"
    """Quarantine's rows are marked as replayed; bronze does not have them."""
    REMARKED = "remarked"
    """Rows of bronze are marked again; others of it, and what follows bronze, are not."""
    BATCH_LANDED = "batch-landed"
    """All of the batch is done; Spark's checkpoint does not say so yet."""
    RECORD_POSTED = "record-posted"
    """The producer has handed a record to its client, which may not have sent it."""
    RECORD_TAKEN = "record-taken"
    """The broker has a record and has said so; the producer has not counted it."""
    PARQUET_WRITTEN = "parquet-written"
    """One date's Parquet file of a version is in its place; the applied version does not say so."""
    POSTGRES_WRITTEN = "postgres-written"
    """A sink's rows and their version are in Postgres's transaction, which is not committed."""
    POSTGRES_COMMITTED = "postgres-committed"
    """A table of a sink has a version of silver; of its others, some may."""
    POSTGRES_AHEAD = "postgres-ahead"
    """A table of a sink has rows that silver's table does not have yet."""
    KAFKA_SENT = "kafka-sent"
    """A sink's records are with the broker in a Kafka transaction, which is not committed."""
    KAFKA_COMMITTED = "kafka-committed"
    """A Kafka transaction of a sink is committed; the process does not know it yet."""


@dataclass
class Failpoint:
    """A step, at which time of reaching it the process ends, and how often it was reached."""

    step: str
    nth: int = 1
    reached: int = 0

    @classmethod
    def read(cls, text: str, steps: Collection[str] = ()) -> Failpoint:
        """From ``step`` or ``step:nth``; ValueError says what is wrong.

        Without ``steps``, those that there are, any name will do: it is never reached.
        """
        name, _, nth = text.partition(":")
        if steps and name not in steps:
            close = get_close_matches(name, steps, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Use one of {', '.join(steps)}"
            raise ValueError(f"{name!r} is not a step. {hint}")
        if nth and not (nth.isdecimal() and int(nth)):
            raise ValueError(f"{nth!r} is not a number from 1 on")
        return cls(name, int(nth or 1))

    def is_due(self, step: str) -> bool:
        """Whether the process ends now; each call counts as reaching the step once."""
        if step != self.step:
            return False
        self.reached += 1
        return self.reached == self.nth

    def once_more(self) -> None:
        """Do not count the last call."""
        self.reached -= 1


def fault(environment: Mapping[str, str], steps: Collection[str]) -> str:
    """What is wrong with the variable, for settings to refuse; empty where nothing is."""
    try:
        _armed(environment, steps)
    except ValueError as error:
        return f"environment: {VARIABLE}: {error}"
    return ""


def _armed(environment: Mapping[str, str], steps: Collection[str] = ()) -> Failpoint | None:
    text = environment.get(VARIABLE, "")
    return Failpoint.read(text, steps) if text else None


ARMED: Failpoint | None = None
with suppress(ValueError):  # settings say what is wrong with it
    ARMED = _armed(os.environ)


def reach(step: str) -> None:
    """Say that a step is reached: the process ends here where the variable says so."""
    if ARMED is not None and ARMED.is_due(step):
        _end(step)


@contextmanager
def writing(step: str, folder: str, version: int | None = None) -> Iterator[None]:
    """Around the writing of a commit: the process ends when its first data file is there.

    With the ``version`` that is to be committed its log entry's place is taken until the
    process has ended, so that a commit of one small file does not come before the end.
    An empty write does not count as reaching the step.
    """
    if ARMED is None or not ARMED.is_due(step):
        yield
        return
    before, done = _data_files(folder), threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            if _data_files(folder) - before:
                _end(step)

    with ExitStack() as stack:
        if version is not None:
            stack.enter_context(_taken(Path(folder, "_delta_log", f"{version:020}.json")))
        watcher = threading.Thread(target=watch, name="failpoint", daemon=True)
        watcher.start()
        try:
            yield
        except Exception:  # noqa: BLE001  # the place of the commit was taken
            _end(step)
        done.set()
        watcher.join()
        if _data_files(folder) - before:
            _end(step, "too late: it was committed within the first look")
    ARMED.once_more()


@contextmanager
def _taken(place: Path) -> Iterator[None]:
    """A folder where a log entry would be; another process removes it, after this one's end too."""
    place.mkdir()  # an empty file would be read as a commit
    words = ["/bin/sh", "-c", 'cat; rmdir "$0"', str(place)]  # it reads until we end
    with started(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL):
        yield


def _data_files(folder: str) -> set[Path]:
    found = Path(folder).rglob("*.parquet")
    return {path for path in found if path.parent.name != "_delta_log"}


def _end(step: str, remark: str = "as told") -> None:
    sys.stderr.write(f"failpoint {step}: this process ends here, {remark}\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
