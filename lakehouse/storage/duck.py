"""DuckDB in the driver: one connection, UTC, bounded memory, no network."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, Field

from lakehouse.settings.sections import SilverSettings
from lakehouse.storage.data_files import NULL_PARTITION, partition_values

# a copy of a small result costs less than planning the statement once more
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
_HIVE = {
    "string": "VARCHAR", "date": "DATE", "timestamp": "TIMESTAMPTZ", "boolean": "BOOLEAN",
    "byte": "TINYINT", "short": "SMALLINT", "integer": "INTEGER", "long": "BIGINT",
}  # fmt: skip
_FILE = "file of the row"
_NUMBERS = itertools.count()
_SPECIAL = re.compile(r"([*?\[])")


def connect(silver: SilverSettings) -> duckdb.DuckDBPyConnection:
    """An in-memory connection for folding and look-ups."""
    return duckdb.connect(
        config={
            "memory_limit": silver.engine_memory,
            "threads": str(silver.engine_threads),
            "TimeZone": "UTC",
            "autoinstall_known_extensions": "false",
            "preserve_insertion_order": "true",  # hashes are matched to rows by position
        }
    )


def hide_progress(connection: duckdb.DuckDBPyConnection) -> None:
    """No bar of DuckDB's own on a long query."""
    with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets has no bar to hide
        connection.execute("SET enable_progress_bar = false")


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


def ten_thousandths(money: str) -> str:
    """SQL: an amount at scale 4 as a whole number of its last place.

    In parts, because ``money * 10000`` has no room above 10^30 in DuckDB.
    """
    return f"(CAST(trunc({money}) AS HUGEINT) * 10000 + CAST({money} % 1 * 10000 AS HUGEINT))"


def patterns(files: Iterable[str]) -> list[str]:
    """Files as DuckDB's readers take them: in a bare name they read ``*``, ``?`` and ``[``."""
    return [_SPECIAL.sub(r"[\1]", file) for file in files]


def reads(files: Iterable[str], more: str = "") -> str:
    """A FROM item over Parquet files; ``more`` are options of the reader."""
    listed = ", ".join(text(file) for file in patterns(files))
    return f"read_parquet([{listed}]{', ' if more else ''}{more})"


def scan(table: DeltaTable, files: Iterable[str]) -> str:
    """A FROM item over a Delta table's files, by name; partition columns as they are declared.

    A column that no file has yet is not in it: whoever reads adds it, as that reader needs it.
    """
    partitions = table.metadata().partition_columns
    if not partitions:
        return reads(files, "union_by_name = true, hive_partitioning = false")
    kinds = {field.name: hive_type(field) for field in table.schema().fields}
    told, files = partition_values(table), [*files]
    if all(_is_path_of(file, told[file]) for file in files):
        pairs = ", ".join(f"{identifier(column)}: {kinds[column]}" for column in partitions)
        hive = f"hive_partitioning = true, hive_types = {{{pairs}}}"
        return reads(files, f"union_by_name = true, {hive}")
    return _by_log(files, told, {column: kinds[column] for column in partitions})


def _is_path_of(file: str, values: Mapping[str, str | None]) -> bool:
    """Whether a file lies in the folders of its partition, as a reader without the log finds it."""
    folders = unquote(file).split("/")
    return all(
        f"{name}={NULL_PARTITION if v is None else v}" in folders for name, v in values.items()
    )


def _by_log(
    files: Sequence[str],
    told: Mapping[str, Mapping[str, str | None]],
    kinds: Mapping[str, str],
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
    hidden = ", ".join(text(name) for name in [*kinds, _FILE])
    named = ", ".join(identifier(name) for name in [_FILE, *kinds])
    values = ", ".join(
        f"CAST(told.{identifier(name)} AS {kind}) AS {identifier(name)}"
        for name, kind in kinds.items()
    )
    listed = reads(
        files, f"union_by_name = true, hive_partitioning = false, filename = {text(_FILE)}"
    )
    return (
        f"(SELECT COLUMNS(lambda held: held NOT IN ({hidden})), {values} "
        f"FROM {listed} JOIN (VALUES {rows}) AS told({named}) USING ({identifier(_FILE)}))"
    )


def hive_type(field: Field) -> str:
    """How DuckDB names a column's type; text where a partition is of no other."""
    return _HIVE.get(str(getattr(field.type, "type", "")), "VARCHAR")


def identifier(value: str) -> str:
    """A name as SQL."""
    return '"' + value.replace('"', '""') + '"'


def text(value: str) -> str:
    """A value as SQL text."""
    return "'" + value.replace("'", "''") + "'"


class Source:
    """Rows under a name in SQL that change: a prepared statement reads those of the moment."""

    def __init__(self, schema: pa.Schema) -> None:
        self._rows = schema.empty_table()

    def put(self, rows: pa.Table) -> None:
        """Rows that have the columns of the schema, among others perhaps."""
        self._rows = rows.select(self._rows.schema.names).cast(self._rows.schema)

    def clear(self) -> None:
        """No rows."""
        self._rows = self._rows.slice(0, 0)

    def __arrow_c_schema__(self) -> object:
        return self._rows.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._rows.__arrow_c_stream__(requested_schema)


class Prepared:
    """A query that is planned once: on a small batch planning takes longer than the work.

    Planned when it is first asked: a process that only opens tables, as a verb does, plans
    nothing. Whatever it reads must keep its name and columns; see :class:`Source`.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        self._connection, self._sql = connection, sql
        self._name = ""

    def __call__(self) -> pa.Table:
        """The rows at hand now."""
        if not self._name:
            name = f"prepared_{next(_NUMBERS)}"
            self._connection.execute(f"PREPARE {name} AS {self._sql}")
            self._name = name
        return self._connection.execute(f"EXECUTE {self._name}").to_arrow_table()

    def close(self) -> None:
        """Forget the plan: the connection would keep it."""
        if self._name:
            self._connection.execute(f"DEALLOCATE {self._name}")
            self._name = ""


def reading(
    connection: duckdb.DuckDBPyConnection, sources: Mapping[str, Source]
) -> duckdb.DuckDBPyConnection:
    """A connection of its own to the same database, in which these names are read."""
    cursor = connection.cursor()
    for given, source in sources.items():
        cursor.register(given, source)
    return cursor
