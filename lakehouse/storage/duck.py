"""DuckDB in the driver: the one place where a connection is made, and what is asked of one.

Tables of strangers are read through it. So a connection opens the files and folders that it was
handed and no other, loads no extension and takes no setting any more, and what comes from data
is part of SQL only by :mod:`lakehouse.core.sql`.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, Field

from lakehouse.core.scratch import scratch_folder
from lakehouse.core.sql import identifier, listed, text, texts
from lakehouse.settings.settings import Settings
from lakehouse.storage.partitions import NULL_PARTITION, partition_values

# a copy of a small result costs less than planning the statement once more
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
_HIVE = {
    "string": "VARCHAR", "date": "DATE", "timestamp": "TIMESTAMPTZ", "boolean": "BOOLEAN",
    "byte": "TINYINT", "short": "SMALLINT", "integer": "INTEGER", "long": "BIGINT",
}  # fmt: skip
FILE, PLACE = "file of the row", "file_row_number"
"""Columns that say where a row lies, and how many rows of its file come before it."""
BY_NAME = "union_by_name = true"
"""For :func:`reads`: columns that a file lacks are null, whatever the first file has."""
_GIVE_UP = 5.0
"""Seconds in which a query that is told to end has ended."""
_SPECIAL = re.compile(r"([*?\[])")


@dataclass(frozen=True)
class Limits:
    """What a connection may take and may open, for as long as it lives."""

    memory: str
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    files: Collection[str] = ()
    folders: Collection[str] = ()
    temporary: str = ""
    """A folder of its own for what does not fit into memory; without one nothing is spilled.

    It is open to a statement that names it.
    """
    most_temporary: int = 0
    """Most bytes in that folder; 0: nine tenths of what its disk has free."""
    is_in_order: bool = True
    """Rows keep the order of what is read, at a cost of memory."""
    keeps_footers: bool = False
    """Parquet footers stay in memory: who asks the same files again and again saves half."""


def opened(limits: Limits) -> duckdb.DuckDBPyConnection:
    """An in-memory connection in UTC that is closed to all but what the limits name.

    DuckDB itself looks where a path leads: ``..`` and links out of a folder are refused.
    """
    spilled = f"{limits.most_temporary}B" if limits.most_temporary else ""
    connection = duckdb.connect(
        config={
            "memory_limit": limits.memory,
            "threads": str(limits.threads),
            "temp_directory": limits.temporary,
            **({"max_temp_directory_size": spilled} if spilled else {}),
            "preserve_insertion_order": str(limits.is_in_order).lower(),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
        }
    )
    files = texts(path for file in limits.files for path in {file, *patterns([file])})
    folders = texts(place for folder in limits.folders for place in _names_of(folder))
    with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets has no bar to hide
        connection.execute("SET enable_progress_bar = false")
    connection.execute(
        f"SET TimeZone = 'UTC'; SET parquet_metadata_cache = {str(limits.keeps_footers).lower()}; "
        f"SET allowed_paths = [{files}]; "
        f"SET allowed_directories = [{folders}]; "
        "SET enable_external_access = false; SET lock_configuration = true"
    )
    return connection


@contextmanager
def connect(
    settings: Settings,
    *beside: str,
    threads: int | None = None,
    is_in_order: bool = True,  # hashes are matched to rows by position
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to fold and look up in the lake, and in folders ``beside`` it; it may spill."""
    with scratch_folder("lakehouse-duckdb-") as folder:
        limits = Limits(
            settings.silver.engine_memory,
            threads or settings.silver.engine_threads,
            folders=[settings.lake.root, *beside],
            temporary=str(folder),
            is_in_order=is_in_order,
        )
        connection = opened(limits)
        try:
            yield connection
        finally:
            _close(connection)


def _close(connection: duckdb.DuckDBPyConnection) -> None:
    """Close it. What a thread still asks it, as after Ctrl-C, is ended first: else it refuses."""
    deadline = time.monotonic() + _GIVE_UP
    while True:
        try:
            connection.close()
        except duckdb.ResourceInUseException:
            if time.monotonic() > deadline:
                return  # the end of the process closes it
            connection.interrupt()
            time.sleep(0.05)
        else:
            return


def _names_of(folder: str) -> set[str]:
    """A folder as it is named and as it is, and both as DuckDB's readers take them."""
    path = Path(folder).absolute()
    named = [str(path), str(path.resolve())]
    return {f"{name}/" for name in [*named, *patterns(named)]}


def query(
    connection: duckdb.DuckDBPyConnection, sql: str, values: Any = None, **tables: pa.Table
) -> pa.Table:
    """A query's rows as one Arrow table; ``tables`` are what it reads by name, and it alone."""
    if not tables:
        return connection.sql(sql, params=values).to_arrow_table()
    with connection.cursor() as own:
        for given, rows in tables.items():
            own.register(given, rows)
        return own.sql(sql, params=values).to_arrow_table()


@contextmanager
def lent(connection: duckdb.DuckDBPyConnection, **tables: pa.Table) -> Iterator[None]:
    """Tables under these names for as long as the block runs.

    For queries that also read temporary tables and views, which a cursor does not see.
    """
    for given, rows in tables.items():
        connection.register(given, rows)
    try:
        yield
    finally:
        for given in tables:
            connection.unregister(given)


def patterns(files: Iterable[str]) -> list[str]:
    """Files as DuckDB's readers take them: in a bare name they read ``*``, ``?`` and ``[``."""
    return [_SPECIAL.sub(r"[\1]", file) for file in files]


def reads(files: Iterable[str], more: str = "") -> str:
    """A FROM item over Parquet files; ``more`` are options of the reader."""
    return f"read_parquet([{texts(patterns(files))}]{', ' if more else ''}{more})"


def scan(table: DeltaTable, files: Iterable[str], *, placed: bool = False) -> str:
    """A FROM item over a Delta table's files, by name; partition columns as they are declared.

    A column that no file has yet is not in it: whoever reads adds it, as that reader needs it.
    With ``placed`` it has the columns FILE and PLACE too.
    """
    partitions = table.metadata().partition_columns
    options = "union_by_name = true"
    if placed:
        options += f", filename = {text(FILE)}, {PLACE} = true"
    if not partitions:
        return reads(files, f"{options}, hive_partitioning = false")
    kinds = {field.name: hive_type(field) for field in table.schema().fields}
    told, files = partition_values(table), [*files]
    if all(_is_path_of(file, told[file]) for file in files):
        pairs = ", ".join(f"{identifier(column)}: {kinds[column]}" for column in partitions)
        hive = f"hive_partitioning = true, hive_types = {{{pairs}}}"
        return reads(files, f"{options}, {hive}")
    return _by_log(files, told, {column: kinds[column] for column in partitions}, placed=placed)


def _is_path_of(file: str, values: Mapping[str, str | None]) -> bool:
    """Whether a file lies in the folders of its partition, as a reader without the log finds it.

    And in no other that is named like a value: a reader takes that for a column's, too.
    """
    named = sorted(folder for folder in unquote(file).split("/")[:-1] if "=" in folder)
    told = (f"{name}={NULL_PARTITION if v is None else v}" for name, v in values.items())
    return named == sorted(told)


def _by_log(
    files: Sequence[str],
    told: Mapping[str, Mapping[str, str | None]],
    kinds: Mapping[str, str],
    *,
    placed: bool,
) -> str:
    """The same where a path says nothing, or another value: what the log says holds.

    Spark writes such paths where a table has ``delta.randomizeFilePrefixes``.
    """
    rows = ", ".join(
        "("
        + ", ".join([text(f), *("NULL" if v is None else text(v) for v in told[f].values())])
        + ")"
        for f in files
    )
    hidden, named = texts([*kinds, *([] if placed else [FILE])]), listed([FILE, *kinds])
    values = ", ".join(
        f"CAST(told.{identifier(name)} AS {kind}) AS {identifier(name)}"
        for name, kind in kinds.items()
    )
    place = f", {PLACE} = true" if placed else ""
    found = reads(
        files, f"union_by_name = true, hive_partitioning = false, filename = {text(FILE)}{place}"
    )
    return (
        f"(SELECT COLUMNS(lambda held: held NOT IN ({hidden})), {values} "
        f"FROM {found} JOIN (VALUES {rows}) AS told({named}) USING ({identifier(FILE)}))"
    )


def hive_type(field: Field) -> str:
    """How DuckDB names a column's type; text where a partition is of no other."""
    return _HIVE.get(str(getattr(field.type, "type", "")), "VARCHAR")
