"""How the one writer of a Delta table commits to it: each commit synced before the next begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import DeltaError

from lakehouse.settings.settings import Settings
from lakehouse.storage.data_files import WrittenFile
from lakehouse.storage.faults import write_fault
from lakehouse.storage.log import sync_checkpoints, sync_commit, sync_files, write_entry
from lakehouse.storage.metadata import NOTE
from lakehouse.storage.protocol import check_protocol
from lakehouse.storage.reader import DeltaReader

QUIET = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class Committing(DeltaReader):
    """A table to which this process alone commits, by an entry of its own or by delta-rs."""

    def __init__(self, dt: DeltaTable, uri: str, schema: pa.Schema, settings: Settings) -> None:
        super().__init__(dt, uri, schema)
        self.settings = settings

    def _write_entry(self, actions: Iterable[Mapping[str, Any]]) -> None:
        """Commit these actions as the next version; raises where another writer was there."""
        check_protocol(self._read, self.uri)  # commits of our own change neither it nor columns
        write_entry(Path(self.uri), self.version + 1, actions)
        self._ahead += 1

    def _commit_files(
        self,
        info: Mapping[str, Any],
        added: Collection[WrittenFile],
        other: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Commit files, synced first, and ``other`` actions, in one entry; a checkpoint if due."""
        before = self.version
        with self._faults():
            if self.settings.publish.fsync:
                sync_files(Path(self.uri), (file.name for file in added))
            self._write_entry([info, *other, *(file.add() for file in added)])
        self._checkpoint(before)

    def carrying_state(self, work: Callable[[CommitProperties], Any]) -> None:
        """Do what may commit by delta-rs; its commits carry the table's state, and are synced."""
        before = self.version
        with self._faults():
            work(CommitProperties({NOTE: json.dumps(self.state())}, max_commit_retries=0))
        self._committed(before)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (DeltaError, OSError) as error:
            raise write_fault(self.uri, error) from None

    def sync_commits_since(self, before: int) -> None:
        """Read and sync the commits that Spark made after version ``before``."""
        self.refresh()
        self._committed(before)

    def _committed(self, before: int) -> None:
        """Sync what was committed after version ``before``; a checkpoint where one is due."""
        if self.settings.publish.fsync:
            for version in range(before + 1, self.version + 1):
                sync_commit(Path(self.uri), version)
        self._checkpoint(before)

    def _checkpoint(self, before: int) -> None:
        every = self.settings.table.checkpoint_interval
        own = crc32(Path(self.uri).name.encode()) % every  # not all tables of a batch at once
        if self.version >= every and crossed(before - own, self.version - own, every):
            with self._faults():
                self.dt.create_checkpoint()
                if self.settings.publish.fsync:
                    sync_checkpoints(Path(self.uri))


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of ``every`` lies above ``before`` and not above ``after``."""
    return after // every > before // every
