"""One Delta table held by its one writer, through delta-rs.

A write is one commit; its metadata (``userMetadata``, a JSON object) says what
it holds, so a retry finds it there and does not write again. Each commit is
synced to disk before the next begins. Commits of maintenance carry the state on
(the ends, or the bronze version), so the newest commit always has it and the log
may lose the older ones.
"""

from __future__ import annotations

import errno
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    WriterProperties,
    write_deltalake,
)
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import PrimitiveType

from lakehouse.core import failpoint
from lakehouse.core.errors import LakehouseError, ServiceUnavailable, TableDamaged, too_many_files
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import check_columns
from lakehouse.settings.settings import Settings
from lakehouse.storage.compaction import compacted
from lakehouse.storage.data_files import WrittenFile, files_of, write_files
from lakehouse.storage.fingerprint import KEY, Rows, Total, by_batch, changed, total_of
from lakehouse.storage.health import (
    Damage,
    check_log,
    damaged,
    newest,
    table_name,
    whole_checkpoints,
)
from lakehouse.storage.log import (
    NOTE,
    commits,
    forget_before,
    notes,
    remove_leftovers,
    sync_checkpoints,
    sync_commit,
    sync_files,
    write_entry,
)
from lakehouse.storage.rows import data_files, marked_rows, rows_where

STATE = ("flow", "ends", "source")
"""Keys of a note that say how far a table is; the others tell of one commit."""
_SHARE, _WHOLE = 32, 16
"""A compaction makes files of a 32nd of the target size, each 16th one of the whole of it.

A commit costs delta-rs time for each file that there is; rows are rewritten seldom all the same.
"""
_LOG = structlog.get_logger("lakehouse")
_QUIET = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class Table:
    """A table that this process alone writes; made when it is missing.

    ``schema`` is the Arrow schema that a new table gets, ``partition_by`` its
    partition columns; ``description`` goes into its metadata. A ``fingerprinted``
    table's commits say what they changed and what all rows come to; a table that
    has begun to goes on whoever opens it (:mod:`lakehouse.storage.fingerprint`).
    """

    def __init__(
        self,
        uri: str,
        schema: pa.Schema,
        settings: Settings,
        *,
        partition_by: Sequence[str] = (),
        description: str = "",
        fingerprinted: bool = False,
    ) -> None:
        self.uri, self.schema, self.partition_by = uri, schema, tuple(partition_by)
        self._settings = settings
        self._writer = WriterProperties(compression=settings.publish.compression.upper())  # type: ignore[arg-type]  # the setting allows only what it takes
        self.dt = self._open(description)
        self.partition_by = tuple(self.dt.metadata().partition_columns)  # as it was made
        self._fingerprints = fingerprinted
        self._compacted_at = self.version
        self._vacuumed_at = self._dropped_at = -math.inf  # a job that runs briefly vacuums too

    def _open(self, description: str) -> DeltaTable:
        try:
            check_columns(self.uri, self.schema.names)
            check_log(self.uri)
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
            return opened(self.uri)
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

        Its files have page checksums. An empty table commits the note alone.
        """
        note = self.fingerprinted(note, rows)
        before, table = self.version, Path(self.uri)
        held = pa.schema(self.dt.schema())
        rows = rows.cast(pa.schema([held.field(name) for name in rows.schema.names]))
        try:
            added = write_files(table, rows, self.partition_by, self._settings.publish.compression)
            if self._is_synced:
                sync_files(table, (file.name for file in added))
            told = _commit_info(added, rows.num_rows, self.partition_by, note)
            marks = [_transaction(*mark) for mark in (transactions or {}).items()]
            write_entry(table, before + 1, [told, *marks, *(file.add() for file in added)])
            self.dt.update_incremental()
        except (DeltaError, OSError) as error:
            raise _unusable(self.uri, error) from None
        if self.version != before + 1:
            raise _another_writer(self.uri)
        self._checkpoint(before)
        return self.version

    def replace(
        self, rows: pa.Table | pa.RecordBatchReader, predicate: str | None, note: Mapping[str, Any]
    ) -> int:
        """Put rows in the place of the partitions that ``predicate`` names (None: of all)."""
        if self.total() is not None:
            note = self.fingerprinted(note, rows, rows_where(self.dt, predicate))
        before = self.version
        try:
            Path(self.uri, "_delta_log").stat()  # delta-rs would make a folder that moved away anew
            write_deltalake(
                self.dt,
                rows,
                mode="overwrite",
                predicate=predicate,
                writer_properties=self._writer,
                commit_properties=CommitProperties({NOTE: json.dumps(note)}, max_commit_retries=0),
                post_commithook_properties=_QUIET,
            )
        except (DeltaError, OSError) as error:
            raise _unusable(self.uri, error) from None
        if self.version != before + 1:
            raise _another_writer(self.uri)
        self._committed(before)
        return self.version

    def mark(
        self, marks: pa.Table, keys: Sequence[str], where: str, note: Mapping[str, Any]
    ) -> int:
        """Set the other columns of ``marks`` in the rows that have its keys, in one commit.

        ``where`` is SQL that these rows ``t`` fulfil.
        Marks that are set already are set again: a retry changes nothing but the version.
        """
        before = self.version
        if self.total() is not None:
            removed, added = marked_rows(self.dt, marks, keys, where)
            note = self.fingerprinted(note, added, removed)
        same = " AND ".join([*(f't."{key}" = s."{key}"' for key in keys), where])
        commit = CommitProperties({NOTE: json.dumps(note)}, max_commit_retries=0)
        try:
            merger = self.dt.merge(
                marks,
                same,
                source_alias="s",
                target_alias="t",
                writer_properties=self._writer,
                commit_properties=commit,
                post_commithook_properties=_QUIET,
            )
            names = [name for name in marks.schema.names if name not in keys]
            merger.when_matched_update({name: f"s.{name}" for name in names}).execute()
        except (DeltaError, OSError) as error:
            raise _unusable(self.uri, error) from None
        self._committed(before)
        return self.version

    def delete(self, predicate: str, note: Mapping[str, Any]) -> None:
        """Remove rows in one commit that carries the table's state on, and ``note``.

        Nothing is committed where there are none, so a retry changes nothing.
        """
        note = self.fingerprinted(note, (), rows_where(self.dt, predicate))
        self._upkeep(lambda commit: self._delete(predicate, commit), note)

    def _delete(self, predicate: str, commit: CommitProperties) -> None:
        self.dt.delete(
            predicate,
            writer_properties=self._writer,
            commit_properties=commit,
            post_commithook_properties=_QUIET,
        )

    def forget_history(self, note: Mapping[str, Any]) -> None:
        """Leave the newest version alone: older files and log entries go, and what a crash left.

        Statistics and predicates in older entries quote values, so they go too; no
        retention holds. The last commit carries the table's state and ``note``. A
        retry does it again.
        """
        time.sleep(0.01)  # a file that was removed in this millisecond is not yet older
        self._upkeep(self._remove_old_files)
        self.append(self.schema.empty_table(), {**self._state(), **note})
        self.dt.create_checkpoint()
        forget_before(Path(self.uri), self.version)
        remove_leftovers(Path(self.uri))

    def _remove_old_files(self, commit: CommitProperties) -> None:
        self.dt.vacuum(
            0,
            dry_run=False,
            enforce_retention_duration=False,
            commit_properties=commit,
            post_commithook_properties=_QUIET,
            full=True,
        )

    def widen(self) -> None:
        """Add the nullable columns of ``schema`` that a table of an earlier release lacks."""
        held = {field.name for field in self.dt.schema().fields}
        lacking = pa.schema([field for field in self.schema if field.name not in held])
        if lacking.names:
            fields = list(DeltaSchema.from_arrow(lacking).fields)
            self._upkeep(lambda commit: self._add_columns(fields, commit))

    def _add_columns(self, fields: list[Any], commit: CommitProperties) -> None:
        self.dt.alter.add_columns(
            fields, commit_properties=commit, post_commithook_properties=_QUIET
        )

    def widen_numbers(self) -> None:
        """Give decimal columns that had less room in an earlier release the room of ``schema``.

        Delta keeps one type for all files, so all rows are written anew, in one commit
        that carries the table's state on. After a crash before it, the next start does it.
        """
        wanted = {field.name: field.type for field in DeltaSchema.from_arrow(self.schema).fields}
        narrow = [
            f"{field.name} {field.type.type}"
            for field in self.dt.schema().fields
            if isinstance(field.type, PrimitiveType)
            and field.type != wanted.get(field.name, field.type)
            and pa.types.is_decimal(self.schema.field(field.name).type)
        ]
        if narrow:
            reason = f"an earlier release gave sums less room: {', '.join(narrow)}"
            _LOG.warning("a table is written anew", table=self.uri, reason=reason)
            self._upkeep(self._write_anew)

    def _write_anew(self, commit: CommitProperties) -> None:
        batches = (batch for part in self._parts(None) for batch in part.to_batches())
        write_deltalake(
            self.dt,
            pa.RecordBatchReader.from_batches(self.schema, batches),
            mode="overwrite",
            schema_mode="overwrite",
            partition_by=list(self.partition_by),
            writer_properties=self._writer,
            commit_properties=commit,
            post_commithook_properties=_QUIET,
        )

    def _committed(self, before: int) -> None:
        """Sync what was committed after version ``before``; a checkpoint where one is due."""
        for version in range(before + 1, self.version + 1):
            self._sync(version)
        self._checkpoint(before)

    def _checkpoint(self, before: int) -> None:
        """Make a checkpoint where one is due since version ``before``."""
        if _crossed(before, self.version, self._settings.table.checkpoint_interval):
            self.dt.create_checkpoint()
            if self._is_synced:
                sync_checkpoints(Path(self.uri))

    @property
    def _is_synced(self) -> bool:
        return self._settings.publish.fsync

    def _sync(self, version: int) -> None:
        if self._is_synced:
            sync_commit(Path(self.uri), version)

    def taken_in(self, before: int) -> None:
        """Read the commits that Spark made after version ``before``, and sync them."""
        for version in range(before + 1, self.refresh() + 1):
            self._sync(version)

    def maintain(self) -> None:
        """Compact and remove old files when [maintenance] says it is time."""
        maintenance = self._settings.maintenance
        every = maintenance.compact_after_commits
        if every and _crossed(self._compacted_at, self.version, every):
            share = 1 if _crossed(self._compacted_at, self.version, every * _WHOLE) else _SHARE
            with failpoint.writing(Step.COMPACTION_FILES, self.uri, self.version + 1):
                self._upkeep(lambda commit: self._compact(commit, share))
            failpoint.reach(Step.COMPACTED)
            self._compacted_at = self.version
        wait = maintenance.vacuum_interval.total_seconds()
        if wait and time.monotonic() - self._vacuumed_at >= wait:
            self._upkeep(self._vacuum)
            self._vacuumed_at = time.monotonic()

    def maintain_now(self) -> None:
        """Compact, and remove what is past its retention, whenever that was done last."""
        self._upkeep(self._compact)
        self._upkeep(self._vacuum)

    def _compact(self, commit: CommitProperties, share: int = 1) -> None:
        table, codec = Path(self.uri), self._settings.publish.compression
        size = self._settings.table.target_file_size_mb * 1024 * 1024 // share
        held = pa.schema(self.dt.schema())
        schema = pa.schema([field for field in held if field.name not in self.partition_by])
        added, removals = compacted(self.dt, table, schema, codec, size)
        if not added:
            return
        if self._is_synced:
            sync_files(table, (file.name for file in added))
        told = _optimized(len(added), len(removals), (commit.custom_metadata or {})[NOTE])
        adds = (file.add(data_change=False) for file in added)
        write_entry(table, self.version + 1, [told, *removals, *adds])
        self.dt.update_incremental()

    def _vacuum(self, commit: CommitProperties) -> None:
        """Remove data files and log entries past the retention that the table's properties say."""
        # without full, files whose removal a checkpoint no longer tells of stay for ever
        self.dt.vacuum(
            None,
            dry_run=False,
            enforce_retention_duration=False,
            commit_properties=commit,
            post_commithook_properties=_QUIET,
            full=True,
        )
        failpoint.reach(Step.VACUUMED)
        if self._is_synced:  # removed entries are then only in the checkpoint
            sync_checkpoints(Path(self.uri))
        self.dt.cleanup_metadata()
        remove_leftovers(Path(self.uri))
        self._shorten_log()

    def _shorten_log(self) -> None:
        """Keep the newest ``log_entries`` commits, from a checkpoint on.

        At each commit delta-rs lists the log's folder twice: 2 ms for 1,000 entries.
        """
        oldest = self.version - self._settings.maintenance.log_entries
        starts = [version for version in whole_checkpoints(self.uri) if version <= oldest]
        if starts:
            forget_before(Path(self.uri), max(starts))

    def drop_is_due(self) -> bool:
        """Whether old rows were dropped last before vacuum_interval, or never."""
        wait = self._settings.maintenance.vacuum_interval or timedelta(hours=1)
        return time.monotonic() - self._dropped_at >= wait.total_seconds()

    def drop_before(self, column: str, oldest: datetime, which: str) -> None:
        """Delete rows whose time is older, of those ``which`` (SQL) holds for.

        Nothing is committed where there are none.
        """
        # delta-rs compares a column in microseconds with text, but with no TIMESTAMP literal
        predicate = f"{column} < '{oldest.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}' AND {which}"
        self.delete(predicate, {})
        self._dropped_at = time.monotonic()

    def _upkeep(
        self, work: Callable[[CommitProperties], Any], more: Mapping[str, Any] | None = None
    ) -> None:
        """Do maintenance whose commits, if it makes any, carry the table's state on."""
        before = self.version
        note = {**self._state(), **(more or {})}
        commit = CommitProperties({NOTE: json.dumps(note)}, max_commit_retries=0)
        try:
            work(commit)
        except (DeltaError, OSError) as error:
            raise _unusable(self.uri, error) from None
        self._committed(before)

    def _state(self) -> dict[str, Any]:
        newest = next((note for note in self.notes() if note), {})
        state = {key: newest[key] for key in STATE if key in newest}
        return state | ({KEY: total.note()} if (total := self.total()) else {})

    def total(self) -> Total | None:
        """The fingerprint of all rows, as the newest commit says it; None where none is kept.

        Of a table of an earlier release it begins with the rows as they are found now.
        """
        if note := self.last_note(KEY):
            return Total.read(note)
        if not self._fingerprints:
            return None
        files = data_files(self.dt, self.uri)
        found = total_of(by_batch(batch for file in files for batch in file.rows()))
        return Total(found, self.version + 1, found.rows)

    def fingerprinted(
        self, note: Mapping[str, Any], added: Rows, removed: Rows = ()
    ) -> Mapping[str, Any]:
        """The note of a commit that will add and remove these rows, its fingerprint in it."""
        if (total := self.total()) is None:
            return note
        return {**note, KEY: changed(total, by_batch(added), by_batch(removed))}

    def last_note(self, key: str) -> Any:
        """What the newest commit that has ``key`` says; None where no commit in the log has it.

        After a RESTORE, what the restored version says.
        """
        return next((note[key] for note in self.notes() if key in note), None)

    def notes(self) -> Iterator[dict[str, Any]]:
        """The notes that hold at this version, the newest first; see :func:`log_files.notes`."""
        return notes(self.commits())

    def commits(self) -> Iterator[dict[str, Any]]:
        """What each commit says of itself, the newest first, as far as the log goes back."""
        return commits(self.uri, self.version)

    def rows(self, partitions: Sequence[str] | None = None) -> pa.Table:
        """The rows of this version, or of the partitions named as ``column=value``."""
        return pa.concat_tables([self.schema.empty_table(), *self._parts(partitions)])

    def _parts(self, partitions: Sequence[str] | None) -> Iterator[pa.Table]:
        """The rows of each file, in the table's own schema."""
        for file in self.files():
            folder = file.rsplit("/", 2)[1]
            if partitions is None or folder in partitions:
                part = pq.ParquetFile(file).read(use_threads=False)
                if self.partition_by:
                    column, _, value = folder.partition("=")
                    part = part.append_column(column, pa.repeat(unquote(value), part.num_rows))
                yield part.select(self.schema.names).cast(self.schema)

    def files(self) -> list[str]:
        """Paths of the Parquet files of this version, as they are on disk."""
        return files_of(self.dt)


def opened(uri: str) -> DeltaTable:
    """A table at its newest version, its log and its files found whole; or else TableDamaged."""
    try:
        return newest(uri)
    except DeltaError as error:
        raise damaged(uri, Damage(uri, f"cannot be opened: {_line(error)}")) from None


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


def _commit_info(
    added: Sequence[WrittenFile], rows: int, partition_by: Sequence[str], note: Mapping[str, Any]
) -> dict[str, Any]:
    """The action that tells of an append, in the words of delta-rs."""
    return {
        "commitInfo": {
            "timestamp": int(time.time() * 1000),
            "operation": "WRITE",
            "operationParameters": {"mode": "Append", "partitionBy": json.dumps(partition_by)},
            "engineInfo": "lakehouse",
            "operationMetrics": {"num_added_files": len(added), "num_added_rows": rows},
            NOTE: json.dumps(note),
        }
    }


def _optimized(added: int, removed: int, note: str) -> dict[str, Any]:
    """The action that tells of a compaction."""
    return {
        "commitInfo": {
            "timestamp": int(time.time() * 1000),
            "operation": "OPTIMIZE",
            "operationParameters": {},
            "engineInfo": "lakehouse",
            "operationMetrics": {"numFilesAdded": added, "numFilesRemoved": removed},
            NOTE: note,
        }
    }


def _transaction(name: str, version: int) -> dict[str, Any]:
    return {"txn": {"appId": name, "version": version}}


def _crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of ``every`` lies above ``before`` and not above ``after``."""
    return after // every > before // every


def _unusable(uri: str, error: Exception) -> LakehouseError:
    """What a write that failed is told as: by its cause, where that can be seen."""
    if isinstance(error, CommitFailedError | FileExistsError):
        return _another_writer(uri)
    if not Path(uri, "_delta_log").is_dir():
        return ServiceUnavailable(
            f"table {table_name(uri)}",
            f"its folder was moved or removed since it was opened: {uri}",
            "put it back, or name the lake by --root where it is now; then start again",
        )
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return too_many_files(error)
    if isinstance(error, TableNotFoundError) or "ile not found" in str(error):
        return damaged(uri, Damage(uri, f"a file of it is gone: {_line(error)}"))
    return ServiceUnavailable(
        uri,
        f"cannot be written: {_line(error)}",
        "mend the disk or the folder's rights, then start again",
    )


def _another_writer(uri: str) -> TableDamaged:
    return TableDamaged(
        f"table {table_name(uri)}",
        "another program has committed to it since this process read it",
        "find that program and stop it: a table has one writer; then start again, and "
        "`lakehouse audit` says whether it changed rows",
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
