"""Read-only SQL over the lake: DuckDB, locked to the snapshot's own files.

One SELECT a call. The connection may open the Parquet files of the tables it
was given and nothing else: no other file, no network, no settings.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from datetime import timedelta

import duckdb
import pyarrow as pa

from lakehouse.core.errors import Exit, LakehouseError
from lakehouse.core.sections import ExplorerSettings
from lakehouse.explorer.catalogue import LAYERS, Catalogue

_READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


class SqlRejected(LakehouseError):
    """The statement is not one read of the lake's tables."""

    exit_code = Exit.FAULT


class QueryTimedOut(LakehouseError):
    """The query ran longer than it may."""

    exit_code = Exit.TIMEOUT


def read(
    catalogue: Catalogue,
    statement: str,
    settings: ExplorerSettings,
    views: Iterable[tuple[str, str]] = (),
) -> pa.Table:
    """The rows of one SELECT over the lake's tables, by names such as silver.sales_by_country.

    ``views`` are (name, SELECT) pairs that the statement may use too.
    """
    _check(statement)
    queries = [statement, *(sql for _, sql in views)]
    connection = duckdb.connect()
    try:
        _prepare(connection, catalogue, _mentioned(catalogue, queries), settings)
        for name, sql in views:
            connection.execute(f"CREATE VIEW {name} AS {sql}")
        connection.execute("SET lock_configuration = true")
        return _run(connection, statement, settings.timeout)
    except duckdb.Error as error:
        raise SqlRejected(
            "SQL", _line(error), "mend the statement; `lakehouse tables` lists names"
        ) from None
    finally:
        connection.close()


def _check(statement: str) -> None:
    try:
        statements = duckdb.extract_statements(statement)
    except duckdb.Error as error:
        raise SqlRejected("SQL", _line(error), "write one SELECT") from None
    if len(statements) != 1:
        raise SqlRejected("SQL", f"{len(statements)} statements were given", "write one SELECT")
    if statements[0].type not in _READS:
        kind = str(statements[0].type).rpartition(".")[2]
        raise SqlRejected(
            "SQL", f"{kind} is not allowed: the lake is read-only here", "write one SELECT"
        )


def _mentioned(catalogue: Catalogue, queries: list[str]) -> list[str]:
    """The tables whose names stand in the text; opening fewer is quicker."""
    text = " ".join(queries).lower()
    return [n for n in catalogue.names() if re.search(rf"\b{re.escape(n.split('.')[1])}\b", text)]


def _prepare(
    connection: duckdb.DuckDBPyConnection,
    catalogue: Catalogue,
    names: list[str],
    settings: ExplorerSettings,
) -> None:
    for layer in LAYERS:
        connection.execute(f"CREATE SCHEMA {layer}")
    allowed: list[str] = []
    views = []
    for name in names:
        table = catalogue.open(name)
        files = [str(f) for f in table.file_uris()]
        if not files:
            empty = pa.schema(table.schema().to_arrow()).empty_table()
            connection.register("empty", empty)
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM empty")
            connection.unregister("empty")
            continue
        allowed += files
        views.append(f"CREATE VIEW {name} AS SELECT * FROM {_scan(files)}")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET memory_limit = '{settings.memory_limit}'")
    connection.execute("SET temp_directory = ''")
    connection.execute(f"SET allowed_paths = {allowed!r}")
    connection.execute("SET enable_external_access = false")
    for view in views:
        connection.execute(view)


def _scan(files: list[str]) -> str:
    return f"read_parquet({files!r}, hive_partitioning = true, union_by_name = true)"


def _run(connection: duckdb.DuckDBPyConnection, statement: str, limit: timedelta) -> pa.Table:
    done, expired = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(limit.total_seconds()):
            return
        expired.set()
        while not done.wait(0.1):  # an interrupt that comes before execution is forgotten
            connection.interrupt()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return connection.sql(statement).to_arrow_table()
    except duckdb.InterruptException:
        if not expired.is_set():
            raise KeyboardInterrupt from None
        raise QueryTimedOut(
            "SQL",
            f"ran longer than {limit.total_seconds():g} s",
            "narrow it, or raise [explorer] timeout",
        ) from None
    finally:
        done.set()
        watcher.join()


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
