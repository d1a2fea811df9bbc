"""A DuckDB connection that can read one snapshot's files, and a folder that nobody can name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core.errors import TableDamaged
from lakehouse.core.sql import identifier
from lakehouse.core.text import one_line
from lakehouse.explorer.catalogue import LAYERS
from lakehouse.explorer.spilled import Room
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.replayed import true_marks
from lakehouse.settings.sections import ExplorerSettings
from lakehouse.storage.duck import hive_type, lent, opened, reads, scan
from lakehouse.storage.faults import ENGINES
from lakehouse.storage.file_paths import dated_by, files_of
from lakehouse.storage.rows import added_files

T = TypeVar("T")
_BATCH = {"batch_id": "BIGINT", "topic_id": "VARCHAR"}
_ADDED = {
    "quarantine": {"replayed_version": "BIGINT", "replayed_at": "TIMESTAMPTZ", **_BATCH},
    "erased": _BATCH,
}
"""Columns, by layer, that tables of an earlier release lack until they are next written."""
_GIVE_UP = 5.0
"""Seconds that an interrupted query may still take before it is abandoned."""


class Expired(Exception):  # named as the errors of this house are
    """The time limit ran out."""


def locked(
    tables: Mapping[str, DeltaTable],
    plain: Mapping[str, list[str]],
    views: Mapping[str, str],
    ends: Mapping[str, Ends],
    settings: ExplorerSettings,
    room: Room,
) -> duckdb.DuckDBPyConnection:
    """A new connection with every table under its name and every view that can be made.

    ``plain`` are tables of plain Parquet files by date. A view is left out if one of its
    tables is missing. ``ends`` are bronze's ends by contract: a row of quarantine is shown as
    replayed only if bronze has it. ``room`` takes what does not fit into memory.
    """
    files = [*chain(*map(files_of, tables.values()), *plain.values())]
    connection = opened(room.limits(settings.memory_limit, files, keeps_footers=True))
    for layer in LAYERS:
        connection.execute(f"CREATE SCHEMA {layer}")
    for name, table in tables.items():
        if not name.startswith("quarantine."):
            with _as_damage(name):
                _register(connection, name, table)
    for name, table in tables.items():
        product = name.partition(".")[2]
        if name.startswith("quarantine."):
            erased = f"erased.{identifier(product)}" if f"erased.{product}" in tables else None
            with _as_damage(name):
                _register(connection, name, table, ends.get(product), erased)
    for name, listed in plain.items():
        with _as_damage(name):
            _register_plain(connection, name, listed)
    for name, sql in views.items():
        try:
            connection.execute(f"CREATE VIEW {name} AS {sql}")
        except (duckdb.CatalogException, duckdb.BinderException):
            continue  # its table is missing; whoever asks for the view is told so
    return connection


@contextmanager
def _as_damage(name: str) -> Iterator[None]:
    """A table whose files DuckDB cannot read is damaged: a clear error, never a traceback."""
    try:
        yield
    except ENGINES as error:
        said = one_line(error)
        verb = "rebuild" if name.startswith("silver.") else "repair"
        raise TableDamaged(
            f"table {name}", f"cannot be read: {said}", f"lakehouse {verb} {name}"
        ) from None


def _register(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: DeltaTable,
    ends: Ends | None = None,
    erased: str | None = None,
) -> None:
    layer, _, short = name.partition(".")
    files = files_of(table)
    target = f"{layer}.{identifier(short)}"
    if files:
        for is_whole in (True, False):
            source = select_of(connection, layer, table, files, is_whole=is_whole)
            if ends is not None and _has_marks(table):
                source = true_marks(f"({source})", f"bronze.{identifier(short)}", erased, ends)
            try:
                connection.execute(f"CREATE VIEW {target} AS {source}")
            except duckdb.BinderException:  # no file has a column that was added
                if is_whole:
                    continue
                raise
            return
    schema = pa.schema(table.schema().to_arrow())
    added = _ADDED.get(layer, {}).items()
    lacking = [f", CAST(NULL AS {kind}) AS {c}" for c, kind in added if c not in schema.names]
    with lent(connection, no_rows=schema.empty_table()):
        connection.execute(f"CREATE TABLE {target} AS SELECT *{''.join(lacking)} FROM no_rows")


def _has_marks(table: DeltaTable) -> bool:
    """Whether, by the log's statistics, a row of quarantine may be marked as replayed."""
    actions = added_files(table, flatten=True)
    name = "null_count.replayed_version"
    if name not in actions.column_names:
        return "replayed_version" in {field.name for field in table.schema().fields}
    nulls, rows = actions[name].to_pylist(), actions["num_records"].to_pylist()
    return any(n is None or n != size for n, size in zip(nulls, rows, strict=True))


def _register_plain(connection: duckdb.DuckDBPyConnection, name: str, files: list[str]) -> None:
    layer, _, short = name.partition(".")
    if files:
        hive = f"hive_partitioning = true, hive_types = {{{identifier(dated_by(files[0]))}: DATE}}"
        connection.execute(f"CREATE VIEW {layer}.{identifier(short)} AS FROM " + reads(files, hive))


def select_of(
    connection: duckdb.DuckDBPyConnection,
    layer: str,
    table: DeltaTable,
    files: list[str],
    *,
    is_whole: bool,
) -> str:
    """A SELECT of the table's columns from its files.

    A column that no file has yet is null, where the layer has such, or not ``is_whole``.
    """
    fields = {field.name: hive_type(field) for field in table.schema().fields}
    source = f"FROM {scan(table, files)}"
    columns = [identifier(c) for c in fields]
    added = _ADDED.get(layer, {})
    if added or not is_whole:
        kinds = added | fields
        held = {row[0] for row in connection.execute(f"DESCRIBE {source}").fetchall()}
        columns = [
            identifier(c) if c in held else f"CAST(NULL AS {kinds[c]}) AS {identifier(c)}"
            for c in dict.fromkeys([*fields, *added])
        ]
    return f"SELECT {', '.join(columns)} {source}"


def within(limit: timedelta, work: Callable[[], T], interrupt: Callable[[], None]) -> T:
    """The result of ``work``; Expired after the limit, KeyboardInterrupt on Ctrl-C.

    It runs in a thread, because DuckDB ignores signals while it works. ``interrupt`` ends a
    query that it may be at.
    """
    done: dict[str, Any] = {}
    ended = threading.Event()  # after Ctrl-C in Thread.join Python 3.11 thinks the thread ended

    def run() -> None:
        try:
            done["value"] = work()
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            done["error"] = error
        finally:
            ended.set()

    threading.Thread(target=run, name="query", daemon=True).start()
    try:
        in_time = ended.wait(limit.total_seconds())
    except KeyboardInterrupt:
        _stop(interrupt, ended)
        raise
    if not in_time:
        _stop(interrupt, ended)
        raise Expired
    if "error" in done:
        raise done["error"]
    value: T = done["value"]
    return value


def _stop(interrupt: Callable[[], None], ended: threading.Event) -> None:
    """Interrupt until the query ends: DuckDB forgets an interrupt that comes before execution."""
    for _ in range(int(_GIVE_UP / 0.1)):
        interrupt()
        if ended.wait(0.1):
            return
