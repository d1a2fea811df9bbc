"""One Delta table held by its one writer: delta-rs reads it, its files and entries are our own.

A write is one commit; its metadata (``userMetadata``, a JSON object) says what
it holds, so a retry finds it there and does not write again. Each commit is
synced to disk before the next begins. Commits of maintenance carry the state on
(the ends, or the bronze version), so the newest commit always has it and the log
may lose the older ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from lakehouse.core.paths import check_columns
from lakehouse.settings.settings import Settings
from lakehouse.storage.actions import (
    append_info,
    delete_info,
    exchange_info,
    merge_info,
    schema_action,
    transaction,
)
from lakehouse.storage.data_files import THREADS, WrittenFile, write_files
from lakehouse.storage.faults import write_fault
from lakehouse.storage.fingerprint import Batches, by_batch, summed
from lakehouse.storage.fingerprinted import Fingerprinted
from lakehouse.storage.health import opened
from lakehouse.storage.log import sync_commit
from lakehouse.storage.log_health import Log, check_log
from lakehouse.storage.properties import (
    FINGERPRINTED,
    FROM_FIRST_ROW,
    INSTEAD_OF,
    is_fingerprinted,
    table_properties,
)
from lakehouse.storage.protocol import check_removable
from lakehouse.storage.rewriting import Change, Found, find, left_out, marked_by, rewritten
from lakehouse.storage.rows import data_files


class Table(Fingerprinted):
    """A table that this process alone writes; :meth:`open` makes it when it is missing.

    ``schema`` is the Arrow schema that a new table gets, ``partition_by`` its
    partition columns; ``description`` goes into its metadata. A ``fingerprinted``
    table's commits say what they changed and what all rows come to; a table that
    has begun to goes on whoever opens it (:mod:`lakehouse.storage.fingerprint`).
    """

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
            Log.of(uri)  # nothing is looked for behind a link
            if _is_table(uri):
                found = opened(uri)
            else:
                check_log(uri)
                properties = table_properties(settings)
                if fingerprinted and (not _is_table(beside) or is_fingerprinted(opened(beside))):
                    properties[FINGERPRINTED] = FROM_FIRST_ROW
                if instead_of:
                    properties[INSTEAD_OF] = instead_of
                found = DeltaTable.create(
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
            return cls(found, uri, schema, settings, fingerprinted=fingerprinted)
        except (DeltaError, OSError) as error:
            raise write_fault(uri, error) from None

    def append(
        self, rows: pa.Table, note: Mapping[str, Any], transactions: Mapping[str, int] | None = None
    ) -> int:
        """Add rows in one commit that carries ``note``; the version that holds them.

        An empty table commits the note alone.
        """
        note = self.fingerprinted(note, by_batch(rows) if self.total() else {})
        with self._faults():
            added = self._written([self._as_held(rows)])
        info = append_info(len(added), rows.num_rows, self.partition_by, note)
        self._commit_files(
            info, added, (transaction(*mark) for mark in (transactions or {}).items())
        )
        return self.version

    def exchange(
        self,
        parts: Iterable[pa.Table],
        gone: Collection[Mapping[str, Any]],
        note: Mapping[str, Any],
        bucket: str = "",
    ) -> list[WrittenFile]:
        """Replace files by rows, given a part at a time, in one commit; the new files.

        ``gone`` are the actions that remove those files, ``bucket`` is a column as in
        :func:`write_files`; no other thread works for it. A retry finds the old files gone,
        and its note in the log.
        """
        with self._faults():
            added = self._written(parts, bucket, threads=1)
        rows = sum(file.rows for file in added)
        info = exchange_info(len(added), len(gone), rows, self.partition_by, note)
        self._commit_files(info, added, gone)
        return added

    def replace(
        self, parts: Iterable[pa.Table], note: Mapping[str, Any], *, widened: bool = False
    ) -> int:
        """Replace all rows by these, given a part at a time; a retry does it again.

        Where ``widened`` the table gets the columns and types of :attr:`schema` with it.
        """
        is_kept, came = self.total() is not None, list[Batches]()

        def passed() -> Iterator[pa.Table]:
            for part in parts:
                if is_kept:
                    came.append(by_batch(part))
                yield part if widened else self._as_held(part)

        with self._faults():
            check_removable(self.dt, self.uri)
            gone = data_files(self.dt, self.uri)
            went = [by_batch(file.whole_rows()) for file in gone] if is_kept else []
            added = self._written(passed())
        note = self.fingerprinted(note, summed(came), summed(went))
        rows, removals = sum(file.rows for file in added), [file.removal() for file in gone]
        info = exchange_info(len(added), len(gone), rows, self.partition_by, note)
        schema = [schema_action(self.dt, Schema.from_arrow(self.schema))] if widened else []
        self._commit_files(info, added, [*schema, *removals])
        if widened:
            self.refresh()
        return self.version

    def mark(
        self, marks: pa.Table, keys: Sequence[str], where: str, note: Mapping[str, Any]
    ) -> int:
        """Set the other columns of ``marks`` in the rows that have its keys, in one commit.

        ``where`` is SQL that these rows ``t`` fulfil.
        Marks that are set already are set again: a retry changes nothing but the version.
        Nothing is committed where there are no such rows.
        """
        with self._faults():
            found = find(self.dt, self.uri, self.settings, where, marks, keys)
        self._rewrite(found, marked_by(marks.drop_columns([*keys])), merge_info, note)
        return self.version

    def delete(self, which: str, note: Mapping[str, Any]) -> None:
        """Remove the rows that ``which``, SQL, holds for, in one commit.

        It carries the table's state on, and ``note``.
        Nothing is committed where there are none, so a retry changes nothing.
        """
        with self._faults():
            found = find(self.dt, self.uri, self.settings, which)
        if found:
            self._rewrite(found, left_out, delete_info, {**self.state(), **note})

    def _rewrite(
        self,
        found: Sequence[Found],
        change: Change,
        told: Callable[[int, int, int, Mapping[str, Any]], dict[str, Any]],
        note: Mapping[str, Any],
    ) -> None:
        """Replace the files found by ones with rows changed, in one commit, if there are any."""
        if not found:
            return
        is_kept, codec = self.total() is not None, self.settings.publish.compression
        with self._faults():
            check_removable(self.dt, self.uri)
            done = rewritten(found, Path(self.uri), codec, change, digest=is_kept)
        came, went = summed(one.added for one in done), summed(one.removed for one in done)
        added, rows = [one.new for one in done if one.new], sum(one.changed for one in done)
        info = told(len(added), len(done), rows, self.fingerprinted(note, came, went))
        self._commit_files(info, added, [one.gone.removal() for one in done])

    def _as_held(self, rows: pa.Table) -> pa.Table:
        """Rows in the table's types."""
        held = pa.schema(self._read.schema())
        return rows.cast(pa.schema([held.field(name) for name in rows.schema.names]))

    def _written(
        self, parts: Iterable[pa.Table], bucket: str = "", threads: int = THREADS
    ) -> list[WrittenFile]:
        folder, codec, by = Path(self.uri), self.settings.publish.compression, self.partition_by
        files = (write_files(folder, part, by, codec, bucket, threads) for part in parts)
        return [file for some in files for file in some]


def _is_table(uri: str) -> bool:
    return bool(uri) and bool(DeltaTable.is_deltatable(uri))
