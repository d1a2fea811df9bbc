"""What changed in a table between two of its versions, row by row.

A file that both versions have holds the same rows in both, so only the others are read: the
cost follows the change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from deltalake import DeltaTable

from lakehouse.core.errors import TableDamaged
from lakehouse.core.progress import Counted
from lakehouse.core.sql import identifier, listed, text
from lakehouse.explorer.allowed import line
from lakehouse.explorer.catalogue import Catalogue, is_plain
from lakehouse.explorer.keys import key_columns
from lakehouse.explorer.locked import select_of
from lakehouse.explorer.spilled import is_full, spill_full, spill_room
from lakehouse.explorer.sql import Answer, in_time
from lakehouse.settings.sections import ExplorerSettings
from lakehouse.storage.duck import opened, query
from lakehouse.storage.file_paths import files_of

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = "(row)"
"""In ``column``: the whole row was added or removed."""
_AT_ONCE = 250_000
"""Rows that are compared at a time; progress is reported after each."""


def diff(
    catalogue: Catalogue,
    settings: ExplorerSettings,
    table: str,
    before: int,
    after: int,
    limit: int | None = None,
) -> Answer:
    """``change``, the table's keys, ``column``, ``before`` and ``after``, as exact text.

    A row with a new key is added, one whose key is gone is removed, both with all their values
    in one line; a changed row has a line for each column that differs. Where nobody declares
    keys of the table, a changed row is one removed and one added.
    """
    if is_plain(table):
        catalogue.open(table)  # says that it has no versions
    was, now = (catalogue.back_to(version).open(table) for version in (before, after))
    asked: list[duckdb.DuckDBPyConnection] = []

    def interrupt() -> None:
        for connection in asked:
            with suppress(duckdb.Error):  # it is closed by now
                connection.interrupt()

    return in_time(settings, lambda: _diff(settings, table, was, now, limit, asked), interrupt)


def _diff(
    settings: ExplorerSettings,
    table: str,
    was: DeltaTable,
    now: DeltaTable,
    limit: int | None,
    asked: list[duckdb.DuckDBPyConnection],
) -> Answer:
    held = (files_of(was), files_of(now))
    both = {*held[0]} & {*held[1]}
    sides = [[file for file in files if file not in both] for files in held]
    size = sum(Path(file).stat().st_size for file in chain(*sides))
    done = Counted(f"comparing {table}", 2 * size, "bytes")  # they are read, then compared
    with _engine(settings, [*chain(*sides)]) as connection:
        asked.append(connection)
        try:
            columns = _columns(was, now)
            for name, delta, files in zip(("was", "now"), (was, now), sides, strict=True):
                rows = _rows(connection, table, delta, files, columns)
                connection.execute(f"CREATE TEMP TABLE all_{name} AS {rows}")
                done.add(sum(Path(file).stat().st_size for file in files))
            found = _compared(connection, table, columns, done, size)
        except duckdb.Error as error:
            if is_full(error):
                raise spill_full() from None
            raise TableDamaged(
                f"table {table}", f"two versions cannot be compared: {line(error)}",
                f"look at `lakehouse history {table}`",
            ) from None  # fmt: skip
    shown: pa.Table = found if limit is None else found.slice(0, limit)
    return Answer(shown, found.num_rows - shown.num_rows)


@contextmanager
def _engine(settings: ExplorerSettings, files: list[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    with (
        spill_room(settings.memory_limit) as room,
        opened(room.limits(settings.memory_limit, files)) as connection,
    ):
        yield connection


def _compared(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Sequence[str],
    done: Counted,
    size: int,
) -> pa.Table:
    """What differs, found a share of the keys at a time."""
    keys = [name for name in key_columns(table) if name in columns]
    found = _by_key(keys, columns) if keys else _whole(columns)
    parts = _parts(connection)
    for part in range(parts):
        where = f"hash({listed(keys or columns)}) % {parts} = {part}"
        for name in ("was", "now"):
            connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {name} AS FROM all_{name} WHERE {where}"
            )
        into = "INSERT INTO changes" if part else "CREATE TEMP TABLE changes AS"
        connection.execute(f"{into} {found}")
        done.add(size * (part + 1) // parts - size * part // parts)
    order = f' ORDER BY {listed(keys)}, "column"' if keys else ""
    return query(connection, f"FROM changes{order}")


def _parts(connection: duckdb.DuckDBPyConnection) -> int:
    """In how many shares; one where a type has changed, as equal values hash alike in one alone."""
    was, now = (
        connection.execute(f"SELECT column_type FROM (DESCRIBE all_{name})").fetchall()
        for name in ("was", "now")
    )
    rows = "SELECT (SELECT count(*) FROM all_was) + (SELECT count(*) FROM all_now)"
    count: int = connection.execute(rows).fetchall()[0][0]
    return 1 + count // _AT_ONCE if was == now else 1


def _columns(was: DeltaTable, now: DeltaTable) -> list[str]:
    names = [field.name for delta in (now, was) for field in delta.schema().fields]
    return [*dict.fromkeys(names)]


def _rows(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    delta: DeltaTable,
    files: list[str],
    columns: Sequence[str],
) -> str:
    """A SELECT of one side, with the columns of both."""
    there = {field.name for field in delta.schema().fields}
    listed_ = ", ".join(
        identifier(c) if c in there and files else f"NULL AS {identifier(c)}" for c in columns
    )
    if not files:
        return f"SELECT {listed_} LIMIT 0"
    layer = table.partition(".")[0]
    return f"SELECT {listed_} FROM ({select_of(connection, layer, delta, files, is_whole=False)})"


def _by_key(keys: Sequence[str], columns: Sequence[str]) -> str:
    others = [name for name in columns if name not in keys]
    shown = ", ".join(
        f"CASE WHEN n.there THEN n.row.{identifier(k)} ELSE w.row.{identifier(k)} END "
        f"AS {identifier(k)}"
        for k in keys
    )
    same = " AND ".join(
        f"w.row.{identifier(k)} IS NOT DISTINCT FROM n.row.{identifier(k)}" for k in keys
    )
    told = ", ".join(
        f"{{'column': {text(c)}, 'before': CAST(w.row.{identifier(c)} AS VARCHAR), "
        f"'after': CAST(n.row.{identifier(c)} AS VARCHAR)}}"
        for c in others
    )
    one = (
        f"{{'column': {text(WHOLE)}, 'before': {_row('w', others)}, 'after': {_row('n', others)}}}"
    )
    sides = ", ".join(
        f"{short} AS (SELECT row, true AS there FROM (SELECT {a} AS row FROM {a} "
        f"EXCEPT ALL SELECT {b} AS row FROM {b}))"
        for short, a, b in (("w", "was", "now"), ("n", "now", "was"))
    )
    return f"""
        WITH {sides}, pairs AS (
            SELECT CASE WHEN w.there AND n.there THEN 'changed' WHEN n.there THEN 'added'
                    ELSE 'removed' END AS change, {shown},
                unnest(CASE WHEN w.there AND n.there THEN [{told or one}] ELSE [{one}] END) AS d
            FROM w FULL JOIN n ON {same})
        SELECT change, {listed(keys)}, d."column" AS "column", d."before" AS "before",
            d."after" AS "after"
        FROM pairs WHERE change <> 'changed' OR d."before" IS DISTINCT FROM d."after" """


def _row(side: str, columns: Sequence[str]) -> str:
    parts = ", ".join(f"{text(c)}: {side}.row.{identifier(c)}" for c in columns)
    return f"CASE WHEN {side}.there THEN CAST({{{parts}}} AS VARCHAR) END" if parts else "NULL"


def _whole(columns: Sequence[str]) -> str:
    names = listed(columns)
    parts = [
        f"SELECT '{change}' AS change, * FROM (SELECT {names} FROM {a} "
        f"EXCEPT ALL SELECT {names} FROM {b})"
        for change, a, b in (("removed", "was", "now"), ("added", "now", "was"))
    ]
    return " UNION ALL ".join(parts)
