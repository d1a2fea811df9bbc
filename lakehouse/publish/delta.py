"""One Delta table held by its one writer, through delta-rs.

A write is one commit; its metadata (``userMetadata``, a JSON object) says what
it holds, so a retry finds it there and does not write again. Each commit is
synced to disk before the next begins.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import ServiceUnavailable, TableDamaged
from lakehouse.core.settings import Settings

NOTE = "userMetadata"
"""The metadata key that delta-rs and Spark both read."""
_QUIET = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class Table:
    """A table that this process alone writes; made when it is missing.

    ``schema`` is the Arrow schema that a new table gets, ``partition_by`` its
    partition columns; ``description`` goes into its metadata.
    """

    def __init__(
        self,
        uri: str,
        schema: pa.Schema,
        settings: Settings,
        *,
        partition_by: Sequence[str] = (),
        description: str = "",
    ) -> None:
        self.uri, self.schema, self.partition_by = uri, schema, tuple(partition_by)
        self._settings = settings
        self._writer = WriterProperties(compression=settings.publish.compression.upper())  # type: ignore[arg-type]  # the setting allows only what it takes
        self.dt = self._open(description)
        self._compacted_at = self.version
        self._vacuumed_at = time.monotonic()

    def _open(self, description: str) -> DeltaTable:
        try:
            if not DeltaTable.is_deltatable(self.uri):
                DeltaTable.create(
                    self.uri,
                    self.schema,
                    mode="ignore",
                    partition_by=list(self.partition_by),
                    description=description,
                    configuration=table_properties(self._settings),
                    raise_if_key_not_exists=False,
                )
                self._sync(0)
            check_last_commit(self.uri)
            return DeltaTable(self.uri)
        except (DeltaError, OSError) as error:
            raise _unusable(self.uri, error) from None

    @property
    def version(self) -> int:
        """The version that this process has read or written last."""
        return int(self.dt.version())

    @property
    def id(self) -> str:
        """The table's own id; another one means another table at the same path."""
        return str(self.dt.metadata().id)

    def refresh(self) -> int:
        """Take in commits made beside this handle (Spark's); the version."""
        self.dt.update_incremental()
        return self.version

    def append(
        self, rows: pa.Table, note: Mapping[str, Any], transactions: Mapping[str, int] | None = None
    ) -> int:
        """Add rows in one commit that carries ``note``; the version that holds them.

        An empty table commits the note alone.
        """
        self._write(rows, "append", None, note, transactions)
        return self.version

    def replace(self, rows: pa.Table, predicate: str | None, note: Mapping[str, Any]) -> int:
        """Put rows in the place of the partitions that ``predicate`` names (None: of all)."""
        self._write(rows, "overwrite", predicate, note, None)
        return self.version

    def _write(
        self,
        rows: pa.Table,
        mode: Any,
        predicate: str | None,
        note: Mapping[str, Any],
        transactions: Mapping[str, int] | None,
    ) -> None:
        before = self.version
        properties = CommitProperties(
            custom_metadata={NOTE: json.dumps(note)},
            app_transactions=[Transaction(k, v) for k, v in (transactions or {}).items()],
            max_commit_retries=0,
        )
        try:
            write_deltalake(
                self.dt,
                rows,
                mode=mode,
                predicate=predicate,
                writer_properties=self._writer,
                commit_properties=properties,
                post_commithook_properties=_QUIET,
            )
        except (DeltaError, OSError) as error:
            raise _unusable(self.uri, error) from None
        if self.version != before + 1:
            raise TableDamaged(
                self.uri,
                f"version {before + 1} was expected and {self.version} came: another writer",
                "find the other process; a table has one writer",
            )
        self._sync(self.version)
        every = self._settings.table.checkpoint_interval
        if self.version % every == 0:
            self.dt.create_checkpoint()

    def _sync(self, version: int) -> None:
        if self._settings.publish.fsync and "://" not in self.uri:
            sync_commit(Path(self.uri), version)

    def taken_in(self, before: int) -> None:
        """Read the commits that Spark made after version ``before``, and sync them."""
        for version in range(before + 1, self.refresh() + 1):
            self._sync(version)

    def maintain(self) -> None:
        """Compact and remove old files when [maintenance] says it is time."""
        maintenance = self._settings.maintenance
        every = maintenance.compact_after_commits
        if every and self.version - self._compacted_at >= every:
            size = self._settings.table.target_file_size_mb * 1024 * 1024
            self.dt.optimize.compact(target_size=size)
            self._compacted_at = self.version
        wait = maintenance.vacuum_interval.total_seconds()
        if wait and time.monotonic() - self._vacuumed_at >= wait:
            hours = self._settings.table.deleted_file_retention.total_seconds() / 3600
            self.dt.vacuum(int(hours), dry_run=False, enforce_retention_duration=False)
            self.dt.cleanup_metadata()
            self._vacuumed_at = time.monotonic()

    def drop_before(self, column: str, oldest: datetime) -> None:
        """Delete rows whose time is older; nothing is committed where there are none."""
        self.dt.delete(f"{column} < TIMESTAMP '{oldest.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'")

    def last_note(self, key: str) -> Any:
        """The newest commit's ``key``; None where no commit in the log carries it."""
        for commit in self.dt.history():
            note = json.loads(commit.get(NOTE) or "{}")
            if key in note:
                return note[key]
        return None

    def files(self) -> list[str]:
        """Paths of the Parquet files of this version."""
        return [str(uri) for uri in self.dt.file_uris()]


def table_properties(settings: Settings) -> dict[str, str | None]:
    """The properties a table is made with: retention, and what [table.properties] adds."""

    def interval(value: timedelta) -> str:
        return f"interval {int(value.total_seconds())} seconds"

    return {
        "delta.logRetentionDuration": interval(settings.table.log_retention),
        "delta.deletedFileRetentionDuration": interval(settings.table.deleted_file_retention),
        "delta.checkpointInterval": str(settings.table.checkpoint_interval),
        **settings.table_properties,
    }


def sync_commit(table: Path, version: int) -> None:
    """fsync a commit: the files it added, its log entry, and their folders."""
    entry = table / "_delta_log" / f"{version:020}.json"
    paths = {entry, entry.parent}
    for line in entry.read_text(encoding="utf-8").splitlines():
        added = json.loads(line).get("add")
        if added:
            paths |= {table / added["path"], (table / added["path"]).parent}
    for path in paths:
        if path.exists():  # percent-encoded partition names differ on disk
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def check_last_commit(uri: str) -> None:
    """Raise TableDamaged when the newest log entry is empty or cut."""
    log = Path(uri) / "_delta_log"
    if "://" in uri or not log.is_dir():
        return
    entries = sorted(p for p in log.glob("*.json") if p.stem.isdigit())
    if not entries:
        return
    newest = entries[-1]
    try:
        actions = [json.loads(line) for line in newest.read_text("utf-8").splitlines()]
        whole = any("commitInfo" in action for action in actions)
    except (ValueError, UnicodeDecodeError):
        whole = False
    if not whole:
        raise TableDamaged(
            str(newest),
            f"the newest commit is cut ({newest.stat().st_size} bytes)",
            f"keep a copy and remove it: the flow then writes version {int(newest.stem)} again",
        )


def _unusable(uri: str, error: Exception) -> ServiceUnavailable:
    reason = " ".join(str(error).split())[:300]
    return ServiceUnavailable(
        uri,
        f"cannot be written: {reason}",
        "mend the disk or the folder's rights, then start again",
    )
