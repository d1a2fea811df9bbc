"""One Delta table held by its one writer, through delta-rs.

A write is one commit; its metadata (``userMetadata``, a JSON object) says what
it holds, so a retry finds it there and does not write again. Each commit is
synced to disk before the next begins. Commits of maintenance carry the state on
(the ends, or the bronze version), so the newest commit always has it and the log
may lose the older ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from lakehouse.core.paths import check_columns
from lakehouse.core.sql import identifier
from lakehouse.settings.settings import Settings
from lakehouse.storage.committing import QUIET, Committing
from lakehouse.storage.data_files import WrittenFile, write_files
from lakehouse.storage.faults import another_writer, write_fault
from lakehouse.storage.fingerprint import KEY, Rows, Total, by_batch, changed, total_of
from lakehouse.storage.health import check_log, opened
from lakehouse.storage.log import append_info, exchange_info, sync_commit, sync_files, transaction
from lakehouse.storage.properties import (
    FINGERPRINTED,
    FROM_FIRST_ROW,
    INSTEAD_OF,
    is_fingerprinted,
    table_properties,
)
from lakehouse.storage.rows import data_files, marked_rows, rows_where


class Table(Committing):
    """A table that this process alone writes; :meth:`open` makes it when it is missing.

    ``schema`` is the Arrow schema that a new table gets, ``partition_by`` its
    partition columns; ``description`` goes into its metadata. A ``fingerprinted``
    table's commits say what they changed and what all rows come to; a table that
    has begun to goes on whoever opens it (:mod:`lakehouse.storage.fingerprint`).
    """

    def __init__(
        self,
        dt: DeltaTable,
        uri: str,
        schema: pa.Schema,
        settings: Settings,
        *,
        fingerprinted: bool = False,
    ) -> None:
        super().__init__(dt, uri, schema, settings)
        self._fingerprints = fingerprinted
        self._has_none = False
        """Whether no commit has a fingerprint: this writer makes none then, and need not look."""

    @classmethod
    def open(
        cls,
        uri: str,
        schema: pa.Schema,
        settings: Settings,
        *,
        partition_by: Sequence[str] = (),
        description: str = "",
        fingerprinted: bool = False,
        beside: str = "",
        instead_of: str = "",
    ) -> Self:
        """The table at this place, its log found whole; made where it is missing.

        What is made says that its fingerprints begin with the first row: that one whose
        log lost them is not taken for one of an earlier release. ``beside`` is a table
        that must say so too, where there is one: of both or of neither it holds. It also says
        the id of the table that it is made ``instead_of``.
        """
        try:
            check_columns(uri, schema.names)
            check_log(uri)
            if not _is_table(uri):
                properties = table_properties(settings)
                if fingerprinted and (not _is_table(beside) or is_fingerprinted(opened(beside))):
                    properties[FINGERPRINTED] = FROM_FIRST_ROW
                if instead_of:
                    properties[INSTEAD_OF] = instead_of
                DeltaTable.create(
                    uri,
                    schema,
                    mode="ignore",
                    partition_by=list(partition_by),
                    description=description,
                    configuration=properties,
                    raise_if_key_not_exists=False,
                )
                if settings.publish.fsync:
                    sync_commit(Path(uri), 0)
            return cls(opened(uri), uri, schema, settings, fingerprinted=fingerprinted)
        except (DeltaError, OSError) as error:
            raise write_fault(uri, error) from None

    def append(
        self, rows: pa.Table, note: Mapping[str, Any], transactions: Mapping[str, int] | None = None
    ) -> int:
        """Add rows in one commit that carries ``note``; the version that holds them.

        Its files have page checksums. An empty table commits the note alone.
        """
        note = self.fingerprinted(note, rows)
        before, table = self.version, Path(self.uri)
        held = pa.schema(self._read.schema())
        rows = rows.cast(pa.schema([held.field(name) for name in rows.schema.names]))
        with self._faults():
            added = write_files(table, rows, self.partition_by, self.settings.publish.compression)
            if self.settings.publish.fsync:
                sync_files(table, (file.name for file in added))
            told = append_info(len(added), rows.num_rows, self.partition_by, note)
            marks = [transaction(*mark) for mark in (transactions or {}).items()]
            self._write_entry([told, *marks, *(file.add() for file in added)])
        self._checkpoint(before)
        return self.version

    def exchange(
        self,
        parts: Iterable[pa.Table],
        gone: Collection[Mapping[str, Any]],
        note: Mapping[str, Any],
        bucket: str = "",
    ) -> list[WrittenFile]:
        """Put rows, a part at a time, in the place of files, in one commit; the new files.

        ``gone`` are the actions that remove those files, ``bucket`` is a column as in
        :func:`write_files`. A retry finds the old files gone, and its note in the log.
        """
        table, before, rows = Path(self.uri), self.version, 0
        added: list[WrittenFile] = []
        with self._faults():
            for part in parts:
                rows += part.num_rows
                codec = self.settings.publish.compression
                added += write_files(table, part, self.partition_by, codec, bucket)
            if self.settings.publish.fsync:
                sync_files(table, (file.name for file in added))
            told = exchange_info(len(added), len(gone), rows, self.partition_by, note)
            self._write_entry([told, *gone, *(file.add() for file in added)])
        self._checkpoint(before)
        return added

    def replace(
        self, rows: pa.Table | pa.RecordBatchReader, predicate: str | None, note: Mapping[str, Any]
    ) -> int:
        """Put rows in the place of the partitions that ``predicate`` names (None: of all)."""
        if self.total() is not None:
            note = self.fingerprinted(note, rows, rows_where(self.dt, predicate))
        before = self.version

        def overwrite(commit: CommitProperties) -> None:
            Path(self.uri, "_delta_log").stat()  # delta-rs would make a moved folder anew
            write_deltalake(
                self.dt,
                rows,
                mode="overwrite",
                predicate=predicate,
                writer_properties=self.writer,
                commit_properties=commit,
                post_commithook_properties=QUIET,
            )

        self._commit(note, overwrite)
        if self.version != before + 1:
            raise another_writer(self.uri)
        return self.version

    def mark(
        self, marks: pa.Table, keys: Sequence[str], where: str, note: Mapping[str, Any]
    ) -> int:
        """Set the other columns of ``marks`` in the rows that have its keys, in one commit.

        ``where`` is SQL that these rows ``t`` fulfil.
        Marks that are set already are set again: a retry changes nothing but the version.
        """
        if self.total() is not None:
            removed, added = marked_rows(self.dt, marks, keys, where)
            note = self.fingerprinted(note, added, removed)
        same = " AND ".join([*(f"t.{key} = s.{key}" for key in map(identifier, keys)), where])
        names = [name for name in marks.schema.names if name not in keys]

        def merge(commit: CommitProperties) -> None:
            merger = self.dt.merge(
                marks,
                same,
                source_alias="s",
                target_alias="t",
                writer_properties=self.writer,
                commit_properties=commit,
                post_commithook_properties=QUIET,
            )
            merger.when_matched_update({name: f"s.{name}" for name in names}).execute()

        self._commit(note, merge)
        return self.version

    def delete(self, predicate: str, note: Mapping[str, Any]) -> None:
        """Remove rows in one commit that carries the table's state on, and ``note``.

        Nothing is committed where there are none, so a retry changes nothing.
        """
        note = self.fingerprinted(note, (), rows_where(self.dt, predicate))

        def delete(commit: CommitProperties) -> None:
            self.dt.delete(
                predicate,
                writer_properties=self.writer,
                commit_properties=commit,
                post_commithook_properties=QUIET,
            )

        self.carrying_state(delete, note)

    def state(self) -> dict[str, Any]:
        """As every reader finds it, and the fingerprint of all rows where one is kept."""
        total = self.total()
        return super().state() | ({KEY: total.note()} if total else {})

    def total(self) -> Total | None:
        """The fingerprint of all rows, as the newest commit says it; None where none is kept.

        Of a table of an earlier release it begins with the rows as they are found now.
        """
        if self._has_none:
            return None
        if note := self.last_note(KEY):
            return Total.read(note)
        if not self._fingerprints:
            self._has_none = True
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


def _is_table(uri: str) -> bool:
    return bool(uri) and bool(DeltaTable.is_deltatable(uri))
