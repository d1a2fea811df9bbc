"""A silver table between two of its versions: which rows came, changed or went.

Only files that one version has and the other has not are read, and rows that both have (a
bucket is rewritten whole) are left out by DuckDB. So a compaction changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import TableMissing
from lakehouse.core.paths import Lake
from lakehouse.storage.duck import scan
from lakehouse.storage.file_paths import files_of, local_path
from lakehouse.storage.follower import Applied
from lakehouse.storage.log import commit_time, commits, entry, notes
from lakehouse.storage.log_health import Log

NONE = "none"


@dataclass(frozen=True)
class Version:
    """A version of a Delta table: which one, its files, and the version of bronze that it has."""

    table: DeltaTable
    id: str
    number: int
    time: int | None
    files: frozenset[str]
    applied: Applied | None
    schema: pa.Schema

    @property
    def has_rows(self) -> bool:
        """Whether it has any, by what the log says of its files."""
        return bool(self.files)


class Versions:
    """One Delta table's versions, the newest as this process has read it last."""

    def __init__(self, root: str, name: str) -> None:
        self.uri, self.name = Lake(root).table(name), name
        self._newest: Version | None = None

    def newest(self) -> Version:
        """The newest version that there is; TableMissing where the table is not made yet."""
        last = self._newest
        if last is not None and self._is_newest(last):
            return last
        if not DeltaTable.is_deltatable(self.uri):
            raise TableMissing(self.name, "does not exist yet", "run its flow first")
        Log.of(self.uri)
        self._newest = version_of(self.uri, DeltaTable(self.uri))
        return self._newest

    def _is_newest(self, last: Version) -> bool:
        """Whether it still is, in this table and not in one that took its place."""
        if last.time is None or entry(self.uri, last.number + 1).exists():
            return False
        return commit_time(self.uri, last.number) == last.time

    def at(self, id_: str, number: int, time: int | None) -> Version | None:
        """An earlier version, by its table's id, its number and its time; None if it is gone."""
        now = self.newest()
        if now.id != id_ or number > now.number or number < 0:
            return None
        if None not in {time, known := commit_time(self.uri, number)} and known != time:
            return None
        try:
            found = version_of(self.uri, DeltaTable(self.uri, version=number))
        except (DeltaError, OSError):
            return None
        return found if all(Path(file).exists() for file in found.files - now.files) else None


def version_of(uri: str, table: DeltaTable) -> Version:
    """A Delta table as it was opened."""
    number = int(table.version())
    note = next((n["source"] for n in notes(commits(uri, number)) if "source" in n), None)
    return Version(
        table, str(table.metadata().id), number, commit_time(uri, number),
        frozenset(files_of(table)),
        Applied.read(note), pa.schema(table.schema().to_arrow()),
    )  # fmt: skip


def reaching(version: Version, column: str, least: Any) -> frozenset[str]:
    """The files that may have a row whose column is at least so much, by the log's statistics.

    None at all where ``least`` is None. A file without statistics may have any row.
    """
    if least is None:
        return frozenset()
    actions, most = version.table.get_add_actions(flatten=True), f"max.{column}"
    if most not in actions.schema.names:
        return version.files
    folder = unquote(version.table.table_uri).removeprefix("file://")
    return frozenset(
        str(local_path(folder, path))
        for path, value in zip(actions["path"].to_pylist(), actions[most].to_pylist(), strict=True)
        if value is None or _up(value) >= least
    )


def _up(value: Any) -> Any:
    """A greatest value as it may be: other writers than ours cut a time at its milliseconds."""
    return value + timedelta(milliseconds=1) if isinstance(value, datetime) else value


def rows_of(version: Version, files: frozenset[str], none: str = NONE) -> str:
    """A FROM item over some files of a version, with every column that the table has.

    ``none`` is what its empty table is called there.
    """
    if not files:
        return none
    return f"(FROM {scan(version.table, sorted(files))} UNION ALL BY NAME FROM {none})"
