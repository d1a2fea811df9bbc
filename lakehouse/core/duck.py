"""DuckDB in the driver: one connection, UTC, bounded memory, no network."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.core.sections import SilverSettings


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


def query(connection: duckdb.DuckDBPyConnection, sql: str, values: Any = None) -> pa.Table:
    """A query's rows as one Arrow table."""
    return connection.sql(sql, params=values).to_arrow_table()
