"""Tables pinned: one version of each, as a view that DuckDB reads without Spark."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.audit.typed import Typed
from lakehouse.core.errors import TableDamaged
from lakehouse.core.paths import Lake, root_option
from lakehouse.core.signals import ended_by_signals
from lakehouse.core.sql import identifier, listed
from lakehouse.core.text import one_line
from lakehouse.ingest.ends import Ends
from lakehouse.settings.settings import Settings
from lakehouse.silver.sketch import with_sketches
from lakehouse.storage.duck import connect, reads, scan
from lakehouse.storage.faults import ENGINES
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.health import loaded, newest
from lakehouse.storage.log import commits, notes

_ENDS_OF_ROWS = """
SELECT "partition", max("offset") + 1 FROM bronze
WHERE topic = $topic AND batch_id > $since GROUP BY 1
"""
_CHANGED = """
SELECT max(rows) FROM (
    SELECT count(*) AS rows
    FROM (SELECT {place} FROM {newer} EXCEPT ALL SELECT {place} FROM {older})
    UNION ALL
    SELECT count(*) FROM (SELECT {place} FROM {older} EXCEPT ALL SELECT {place} FROM {newer})
)
"""
_PLACE = 'topic, "partition", "offset", batch_id, is_late, is_duplicate'
_UNREADABLE = {"deletionVectors", "columnMapping"}
_MANY_FILES, _FEW_ROWS = 64, 1_000_000
"""More files of no more rows than these are read once: a query costs 0.3 ms for each file."""
_NUMBERS = itertools.count()


@contextmanager
def engine(settings: Settings, *beside: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with bounded memory, on the lake and folders beside it; a signal ends its query."""
    cores = os.cpu_count() or 1  # flows share the machine
    with (
        connect(settings, *beside, threads=cores, is_in_order=False) as connection,
        ended_by_signals(connection.interrupt),
    ):
        with_sketches(connection)
        yield connection


def count(connection: duckdb.DuckDBPyConnection, source: str, values: Any = None) -> int:
    """How many rows a FROM item has."""
    return int(connection.execute(f"SELECT count(*) FROM {source}", values).fetchall()[0][0])


@dataclass(frozen=True)
class Pin:
    """One version of one table, and the columns that it has."""

    name: str
    id: str
    version: int
    columns: tuple[str, ...]

    @property
    def listed(self) -> str:
        """Its columns as a select-list."""
        return listed(self.columns)


class Snapshots:
    """The tables of one lake, each opened at a version and given to DuckDB as a view."""

    def __init__(self, root: str, connection: duckdb.DuckDBPyConnection) -> None:
        self.lake, self.connection, self._typed = Lake(root), connection, Typed(connection)
        self._files: set[str] = set()
        self._opened: dict[str, DeltaTable] = {}
        self._pins: dict[str, Pin] = {}
        self._kinds: dict[str, dict[str, str]] = {}
        self._tables: dict[tuple[str, int], str] = {}
        self._changed: dict[tuple[str, int, int], int] = {}
        self._defined: dict[str, tuple[str, Pin | None]] = {}
        self._notes: dict[tuple[str, str, int], Any] = {}

    def exists(self, name: str) -> bool:
        """Whether a flow has made the table."""
        return Path(self.lake.table(name), "_delta_log").is_dir()

    def open(self, name: str, version: int | None = None) -> DeltaTable:
        """The table at a version, or at its newest; TableDamaged where that cannot be read.

        The version of a table that was opened last is not opened again.
        """
        last = self._opened.get(name)
        if last is not None and last.version() == version:
            return last
        try:
            uri = self.lake.table(name)
            table = newest(uri) if version is None else loaded(uri, version)
        except (DeltaError, OSError) as error:
            raise TableDamaged(
                f"table {name}",
                f"cannot be opened at {'its newest' if version is None else ''} version "
                f"{'' if version is None else version}: {one_line(error)}",
                f"lakehouse repair {name} {root_option(self.lake.root)}",
            ) from None
        if odd := _UNREADABLE & _features(table):
            raise TableDamaged(
                f"table {name}", f"uses {', '.join(sorted(odd))}, which the audit cannot read",
                "rewrite the table without it",
            )  # fmt: skip
        self._opened[name] = table
        return table

    def opened(self, name: str) -> DeltaTable:
        """The table at the version that was opened last; at its newest where none was."""
        return self._opened.get(name) or self.open(name)

    def pin(self, view: str, name: str, version: int | None = None) -> Pin:
        """Make ``view`` the rows of the table at a version (None: the newest there is now)."""
        before = self._pins.pop(view, None)
        if before is not None and (before.name, before.version) == (name, version):
            self._pins[view] = before
            return before
        table = self.open(name, version)
        files = files_of(table)
        self._files.update(files)
        with self._replaced(view):
            schema = pa.schema(table.schema().to_arrow())
            about = name, str(table.metadata().id), int(table.version())
            pin = Pin(*about, tuple(schema.names))
            source = self._typed.source(view, table, schema, files)
            self._kinds[view] = self._typed.declared(view, schema)
            if len(files) > _MANY_FILES and table.count() <= _FEW_ROWS:
                source = self._loaded(pin, source)
            self._view(view, f"SELECT {pin.listed} FROM {source}")
        self._pins[view] = pin
        return pin

    def view_files(self, view: str, select: str, files: Sequence[str]) -> None:
        """Make ``view`` what a SELECT of files that are no table's gives."""
        self._files.update(files)
        self._pins.pop(view, None)
        with self._replaced(view):
            self._view(view, select)

    def define(self, select: str, view: str, reads: str = "") -> None:
        """Make ``view`` what a SELECT gives; where it is that already, nothing is done.

        ``reads`` is the pinned view that it is over, if any: another pin rebuilds it.
        """
        wanted = (select, self._pins.get(reads))
        if self._defined.get(view) != wanted:
            self._view(view, select)
            self._defined[view] = wanted

    @contextmanager
    def _replaced(self, view: str) -> Iterator[None]:
        """While a view is given other rows: there is none where that fails."""
        self._defined.pop(view, None)
        try:
            yield
        except BaseException:
            self.connection.execute(f"DROP VIEW IF EXISTS {identifier(view)}")
            raise

    def _view(self, view: str, select: str) -> None:
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {identifier(view)} AS {select}")

    def kinds(self, view: str) -> dict[str, str]:
        """The types of a view's or a table's columns; those of a pinned one are known."""
        return self._kinds[view] if view in self._pins else self._typed.types(identifier(view))

    def _loaded(self, pin: Pin, source: str) -> str:
        """The name of a table that has the rows, read once for all that pin this version."""
        key = (pin.name, pin.version)
        if key not in self._tables:
            self._tables[key] = f'"pinned_{next(_NUMBERS)}"'
            self.connection.execute(
                f"CREATE TEMP TABLE {self._tables[key]} AS SELECT {pin.listed} FROM {source}"
            )
        return self._tables[key]

    def changed_rows(self, bronze: str, older: int, newer: int) -> int:
        """How many rows bronze gained, lost or marked again between two versions.

        Only files are read that one version has and the other has not.
        """
        key = (bronze, older, newer)
        if key not in self._changed:
            tables = [self.open(bronze, version) for version in (older, newer)]
            then, now = (files_of(table) for table in tables)
            lost, gained = sorted({*then} - {*now}), sorted({*now} - {*then})
            sources = {"older": scan(tables[0], lost), "newer": scan(tables[1], gained)}
            if lost and gained:
                sql = _CHANGED.format(place=_PLACE, **sources)
                self._changed[key] = int(self.connection.execute(sql).fetchall()[0][0])
            else:
                source = sources["older" if lost else "newer"]
                self._changed[key] = count(self.connection, source) if lost or gained else 0
        return self._changed[key]

    def unreadable(self) -> list[str]:
        """Files of the tables pinned so far, by name, that DuckDB cannot read whole."""
        return [file for file in sorted(self._files) if not _is_readable(self.connection, file)]

    def note(self, name: str, key: str, upto: int) -> Any:
        """What the newest commit up to a version says under ``key``; None where none does."""
        asked = (name, key, upto)
        if asked not in self._notes:
            found = notes(commits(self.lake.table(name), upto))
            self._notes[asked] = next((note[key] for note in found if key in note), None)
        return self._notes[asked]

    def ends(self, pin: Pin, topic: str, topic_id: str) -> Ends | None:
        """How far bronze holds its topic at the pinned version; None where nothing says it.

        Where the log no longer has a commit with ends, the rows of the view ``bronze`` do,
        as for the flow: ``is_from_rows``.
        """
        if note := self.note(pin.name, "ends", pin.version):
            return Ends.read(note)
        since = self.open(pin.name, pin.version).transaction_version(f"since:{topic_id}")
        found = self.connection.execute(
            _ENDS_OF_ROWS, {"topic": topic, "since": -1 if since is None else since}
        ).fetchall()
        return Ends(topic, topic_id, dict(found), is_from_rows=True) if found else None


def _features(table: DeltaTable) -> set[str]:
    """What the table asks of its readers; column mapping is older than the list of features."""
    mode = table.metadata().configuration.get("delta.columnMapping.mode") or "none"
    return {*(table.protocol().reader_features or []), *(["columnMapping"] * (mode != "none"))}


def _is_readable(connection: duckdb.DuckDBPyConnection, file: str) -> bool:
    rows = reads([file], "hive_partitioning = false")
    try:
        connection.execute(f"SELECT bit_xor(hash(row)) FROM {rows} AS row").fetchall()
    except (duckdb.OutOfMemoryException, MemoryError):
        return True
    except ENGINES:
        return False
    return True
