"""A table's upkeep between batches: compact, vacuum, shorten the log, drop or forget what is old.

Each step may be cut and done again, and its commits carry the table's state on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import CommitProperties

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.core.sql import identifier, text
from lakehouse.core.within import check_tree
from lakehouse.storage.actions import optimize_info
from lakehouse.storage.committing import QUIET, crossed
from lakehouse.storage.compaction import Compaction, compaction
from lakehouse.storage.data_files import THREADS, WrittenFile
from lakehouse.storage.faults import write_fault
from lakehouse.storage.log import (
    forget_before,
    remove_leftovers,
    sync_checkpoints,
    sync_files,
    write_entry,
)
from lakehouse.storage.log_health import whole_checkpoints
from lakehouse.storage.metadata import NOTE
from lakehouse.storage.old_files import OldFiles
from lakehouse.storage.properties import RETENTION, table_properties
from lakehouse.storage.protocol import check_protocol
from lakehouse.storage.rows import added_files
from lakehouse.storage.table import Table

_OFTEN = 50
"""Commits after which it is looked whether a table leaves too much, if it is not large ..."""
_SELDOM = 30.0
"""... and seconds: a fold waits for it, and what is younger stays in any case."""
_SHARE, _WHOLE = 32, 16
"""A compaction makes files of a 32nd of the target size, each 16th one of the whole of it.

A commit costs delta-rs time for each file that there is; rows are rewritten seldom all the same.
"""
_VERSIONS = 8
"""Versions that a writer who keeps account of its files may leave beside the newest, in bytes."""
_REPLACED = timedelta(hours=1)
"""What a compaction replaced stays no longer: its rows are there, and checkpoints tell of it."""


class Upkeep:
    """When one table is due for upkeep, as [maintenance] says, by what this process has done."""

    def __init__(self, table: Table, *, compacts: bool = True, beside: bool = False) -> None:
        """A writer who keeps account of a table's files compacts none beside it.

        With ``beside`` compacted files are written by a thread while the table is written on.
        They are committed by a later :meth:`run`, or by :meth:`finish`.
        """
        self.table, self._compacts = table, compacts
        self._pool = ThreadPoolExecutor(1, "upkeep") if beside else None
        self._begun: tuple[Compaction, Future[list[WrittenFile]]] | None = None
        self._compacted_at = self._trimmed_at = table.version
        self._trimmed = time.monotonic()
        self._old = OldFiles(table) if compacts else OldFiles(table, _VERSIONS)
        self._vacuumed_at = self._dropped_at = -math.inf  # a job that runs briefly vacuums too

    def run(self) -> None:
        """Compact and remove old files where it is time."""
        table, maintenance = self.table, self.table.settings.maintenance
        every = maintenance.compact_after_commits if self._compacts else 0
        if self._begun:
            if self._begun[1].done():
                self.finish()
        elif every and crossed(self._compacted_at, table.version, every):
            is_whole = crossed(self._compacted_at, table.version, every * _WHOLE)
            self._compact(1 if is_whole else _SHARE)
        elif not self._compacts and self._is_trimming_due():
            self._old.thin()
            self._old.trim(time.monotonic())
            self._trimmed_at, self._trimmed = table.version, time.monotonic()
        wait = maintenance.vacuum_interval.total_seconds()
        if wait and time.monotonic() - self._vacuumed_at >= wait:
            self.finish()  # vacuum would take its files for what a crash left
            vacuum(table)
            self._vacuumed_at = time.monotonic()

    def _is_trimming_due(self) -> bool:
        if self._old.is_due:
            return True
        is_long_ago = time.monotonic() - self._trimmed >= _SELDOM
        return is_long_ago and crossed(self._trimmed_at, self.table.version, _OFTEN)

    def _compact(self, share: int) -> None:
        table = self.table
        self._compacted_at = table.version
        if self._pool is None:
            with failpoint.writing(Step.COMPACTION_FILES, table.uri, table.version + 1):
                self._compacted(compact(table, share))
        elif (what := planned(table, share)).groups:
            self._begun = what, self._pool.submit(_beside, table, what)

    def finish(self) -> None:
        """Commit a compaction that was begun, once its files are written."""
        if self._begun:
            (what, writing), self._begun = self._begun, None
            self._compacted(_put(self.table, what, writing.result()))

    def _compacted(self, replaced: Collection[str]) -> None:
        failpoint.reach(Step.COMPACTED)
        self._old.replaced(replaced, time.monotonic())
        self._old.thin()
        self._old.trim(time.monotonic())
        self._compacted_at = self.table.version

    def replaced(self, names: Collection[str]) -> None:
        """The table's newest commit has replaced these files, as the log names them."""
        self._old.replaced(names, time.monotonic())

    def drop_is_due(self) -> bool:
        """Whether old rows were dropped last before vacuum_interval, or never."""
        wait = self.table.settings.maintenance.vacuum_interval or timedelta(hours=1)
        return time.monotonic() - self._dropped_at >= wait.total_seconds()

    def dropped(self) -> None:
        """Old rows are dropped now."""
        self._dropped_at = time.monotonic()


def compact(
    table: Table, share: int = 1, read: Callable[[int], None] = lambda _: None
) -> list[str]:
    """Make few files of many small ones, each about a ``share``-th of the target size.

    Gives the files that were replaced, as the log names them. ``read`` is told the bytes of each
    once it is read.
    """
    what = planned(table, share)
    return _put(table, what, _written(table, what, read=read))


def planned(table: Table, share: int) -> Compaction:
    """The files that :func:`compact` replaces."""
    size = table.settings.table.target_file_size_mb * 1024 * 1024 // share
    check_protocol(table.dt, table.uri)
    return compaction(table.dt, Path(table.uri), size, seldom=share > 1)


def _beside(table: Table, what: Compaction) -> list[WrittenFile]:
    """Write what is compacted in a thread of its own."""
    with failpoint.writing(Step.COMPACTION_FILES, table.uri):
        return _written(table, what, threads=1)


def _written(
    table: Table,
    what: Compaction,
    threads: int = THREADS,
    read: Callable[[int], None] = lambda _: None,
) -> list[WrittenFile]:
    """Write what is compacted, and sync it; nothing is committed."""
    settings = table.settings.publish
    try:
        added = what.written(settings.compression, threads, read)
        if settings.fsync:
            sync_files(what.folder, (file.name for file in added))
    except OSError as error:
        raise write_fault(table.uri, error) from None
    return added


def _put(table: Table, what: Compaction, added: Collection[WrittenFile]) -> list[str]:
    """Replace the files that were compacted; gives which those are.

    Where one of these was replaced meanwhile, what was written goes: its rows are others now.
    """
    if not added:
        return []
    if not what.names <= {*added_files(table.dt)["path"].to_pylist()}:
        for file in added:
            (what.folder / file.name).unlink()
        return []
    table.carrying_state(lambda commit: _commit(table, commit, what, added))
    return [*what.names]


def _commit(
    table: Table, commit: CommitProperties, what: Compaction, added: Collection[WrittenFile]
) -> None:
    ago = max((table.settings.table.deleted_file_retention - _REPLACED).total_seconds(), 0.0)
    removals = what.removals(ago)
    told = optimize_info(len(added), len(removals), (commit.custom_metadata or {})[NOTE])
    adds = (file.add(data_change=False) for file in added)
    write_entry(what.folder, table.version + 1, [told, *removals, *adds])
    table.dt.update_incremental()


def set_retention(table: Table) -> None:
    """Keep old versions as long as settings say, also where the table was made otherwise."""
    wanted = {name: value for name, value in table_properties(table.settings).items()
              if name in RETENTION and value is not None}  # fmt: skip
    held = table.dt.metadata().configuration
    if any(held.get(name) != value for name, value in wanted.items()):
        table.carrying_state(
            lambda commit: table.dt.alter.set_table_properties(
                wanted, raise_if_not_exists=False, commit_properties=commit
            )
        )


def vacuum(table: Table) -> None:
    """Remove data files and log entries past the retention that the table's properties say."""
    table.carrying_state(lambda commit: _vacuum(table, commit))


def _vacuum(table: Table, commit: CommitProperties) -> None:
    check_tree(Path(table.uri))  # delta-rs would delete what a linked folder leads to
    # without full, files whose removal a checkpoint no longer tells of stay for ever
    table.dt.vacuum(
        None, dry_run=False, enforce_retention_duration=False, commit_properties=commit,
        post_commithook_properties=QUIET, full=True,
    )  # fmt: skip
    failpoint.reach(Step.VACUUMED)
    if table.settings.publish.fsync:  # removed entries are then only in the checkpoint
        sync_checkpoints(Path(table.uri))
    table.dt.cleanup_metadata()
    remove_leftovers(Path(table.uri))
    _shorten_log(table)


def _shorten_log(table: Table) -> None:
    """Keep the newest ``log_entries`` commits, from a checkpoint on.

    At each commit delta-rs lists the log's folder twice: 2 ms for 1,000 entries.
    """
    oldest = table.version - table.settings.maintenance.log_entries
    starts = [version for version in whole_checkpoints(table.uri) if version <= oldest]
    if starts:
        forget_before(Path(table.uri), max(starts))


def drop_before(table: Table, column: str, oldest: datetime, which: str) -> None:
    """Delete rows whose time is older, of those ``which`` (SQL) holds for.

    Nothing is committed where there are none.
    """
    before = text(f"{oldest.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}")
    table.delete(f"{identifier(column)} < TIMESTAMPTZ {before} AND {which}", {})


def forget_history(table: Table, note: Mapping[str, Any]) -> None:
    """Leave the newest version alone: older files and log entries go, and what a crash left.

    Statistics and predicates in older entries quote values, so they go too; no
    retention holds. The last commit carries the table's state and ``note``. A
    retry does it again.
    """
    time.sleep(0.01)  # a file that was removed in this millisecond is not yet older
    table.carrying_state(lambda commit: _remove_old_files(table, commit))
    table.append(table.schema.empty_table(), {**table.state(), **note})
    table.dt.create_checkpoint()
    forget_before(Path(table.uri), table.version)
    remove_leftovers(Path(table.uri))


def _remove_old_files(table: Table, commit: CommitProperties) -> None:
    check_tree(Path(table.uri))  # as _vacuum
    table.dt.vacuum(
        0, dry_run=False, enforce_retention_duration=False, commit_properties=commit,
        post_commithook_properties=QUIET, full=True,
    )  # fmt: skip
