"""Silver against bronze: each table compared, row by row, with a recompute of its own version."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.audit.pins import Pin, Snapshots, count
from lakehouse.audit.steps import Steps, is_told
from lakehouse.audit.topic import SAMPLE
from lakehouse.core.errors import TableDamaged
from lakehouse.core.progress import advance
from lakehouse.core.sql import identifier, listed, text, texts
from lakehouse.core.text import Say, one_line
from lakehouse.ingest.ends import Ends
from lakehouse.model.recompute import Recompute, Recomputes
from lakehouse.model.window import EXACT, TIMEOUTS
from lakehouse.storage.duck import query
from lakehouse.storage.file_paths import files_of


@dataclass(frozen=True)
class Compared:
    """One silver table and its recompute at the bronze version that it says it has applied.

    ``source`` is that version, -1 for nothing. ``doubt`` says why the two could
    not be compared; ``fault`` what is wrong apart from rows.
    """

    table: str
    version: int | None = None
    source: int | None = None
    behind: int | None = None
    rows: int | None = None
    recomputed: int | None = None
    differing: int = 0
    first: tuple[dict[str, Any], ...] = ()
    """Key, column, what the table holds, what the recompute gives."""
    fault: str = ""
    doubt: str = ""
    lacking: int = 0
    """Rows that bronze gained, lost or marked again since its applied version."""
    ahead: int = 0
    """Keys whose rows a sink has from a later version: left out until silver's table has that."""


_EXACT = re.compile(r"(?:[A-Z]*INT|INTEGER|DECIMAL\(\d+,\s*(\d+)\))")
_AT_ONCE = 1_000_000
"""Rows of bronze that are recomputed at once where they can be parted: 1 GB is room for them."""
_ANEW = "rebuild it: lakehouse rebuild; of plain Parquet remove the folder"
_DIFFERING = """
CREATE OR REPLACE TEMP TABLE differing AS
SELECT {columns}, sum(side) AS side FROM (
    SELECT {columns}, 1 AS side FROM wanted UNION ALL SELECT {columns}, -1 FROM {held}
) GROUP BY ALL HAVING sum(side) <> 0
"""
_FIRST = """
SELECT differing.* FROM differing SEMI JOIN (
    SELECT DISTINCT {keys} FROM differing ORDER BY ALL LIMIT {sample}
) USING ({keys}) ORDER BY {keys}, side
"""


def compare_all(
    snapshots: Snapshots,
    product: str,
    recomputes: Recomputes,
    bronze: Pin,
    say: Say,
) -> list[Compared]:
    """Compare every table; bronze is opened at the version that each one's newest note names."""
    found, what = list[Compared](), f"recomputing silver of {product}"
    for recompute in recomputes.tables:
        name = f"silver.{product}_{recompute.name}"
        say(f"recomputing {name}")
        advance(what, len(found), len(recomputes.tables), "tables")
        found.append(compare(snapshots, name, recomputes.counted, recompute, bronze))
    advance(what, len(found), len(found), "tables")
    return found


def compare(
    snapshots: Snapshots, name: str, counted: str, recompute: Recompute, bronze: Pin
) -> Compared:
    """Compare one table; a doubt where it, or bronze at its version, cannot be read."""
    return or_doubt(snapshots, name, lambda: _compare(snapshots, name, counted, recompute, bronze))


def or_doubt(snapshots: Snapshots, name: str, comparison: Callable[[], Compared]) -> Compared:
    """What a comparison gives; a doubt where it cannot be made."""
    steps = Steps()
    steps.unreadable = snapshots.unreadable
    try:
        return comparison()
    except BaseException as error:
        if not is_told(error):
            raise
        return Compared(name, doubt=steps.told(error))


def _compare(
    snapshots: Snapshots, name: str, counted: str, recompute: Recompute, bronze: Pin
) -> Compared:
    if not snapshots.exists(name):
        return Compared(name, doubt="does not exist (yet)")
    held = snapshots.pin("held", name)
    check_names(files_of(snapshots.opened(name)), held.columns)
    source = snapshots.note(name, "source", held.version) or {"version": -1, "id": bronze.id}
    found = Compared(name, held.version, int(source["version"]))
    terms(snapshots, found.table, found.version or 0, recompute.name)
    return compare_held(snapshots, found, str(source["id"]), counted, recompute, bronze)


def check_names(files: Sequence[str], names: Sequence[str]) -> None:
    """TableDamaged where a file names a column in other capitals, or cannot tell its columns.

    DuckDB reads such a column all the same; readers that go by the name find nulls.
    """
    known = {name.lower(): name for name in names}
    for file in files:
        try:
            found = pq.read_schema(file).names
        except (pa.ArrowException, OSError) as error:
            words = one_line(error)
            raise TableDamaged(file, f"cannot be read: {words}", _ANEW) from None
        for column in found:
            if (name := known.get(column.lower(), column)) != column:
                raise TableDamaged(file, f"has a column {column!r} in place of {name!r}", _ANEW)


def compare_held(
    snapshots: Snapshots, table: Compared, id_: str, counted: str, recompute: Recompute, bronze: Pin
) -> Compared:
    """Compare the view ``held``, rows of this table, with a recompute at its applied version.

    ``id_`` is that of the bronze table which it says it was made from.
    """
    version = -1 if table.source is None else table.source
    if id_ != bronze.id:
        return replace(table, doubt=f"was made from another bronze table, with id {id_}")
    snapshots.pin("bronze_then", bronze.name, max(version, 0))
    connection = snapshots.connection
    moment(snapshots, bronze, version)
    counted += " AND false" if version < 0 else ""
    behind = max(0, bronze.version - max(version, 0))
    if version < 0:
        lacking = count(connection, "bronze")
    else:  # a table may have applied what landed since bronze was pinned
        lacking = snapshots.changed_rows(bronze.name, version, max(version, bronze.version))
    report = replace(table, behind=behind, recomputed=0, lacking=lacking)
    parts = -(-count(connection, "bronze_then") // _AT_ONCE) if recompute.by else 1
    parts = max(1, parts)
    try:
        for part in range(parts):
            report = _part_compared(snapshots, report, counted, recompute, (part, parts))
            if report.fault != table.fault:
                break
            if parts > 1:
                advance(f"recomputing {table.table}", part + 1, parts, "parts")
    finally:  # a part that had no room in memory leaves it to what is compared next
        connection.execute("DROP TABLE IF EXISTS wanted; DROP TABLE IF EXISTS differing")
    is_equal = report.fault == table.fault and not report.differing  # so in number of rows too
    return replace(report, rows=report.recomputed if is_equal else count(connection, "held"))


def _part_compared(
    snapshots: Snapshots, before: Compared, counted: str, recompute: Recompute, at: tuple[int, int]
) -> Compared:
    """The findings so far, and those of one part (which, of how many) of the rows."""
    connection, (part, parts) = snapshots.connection, at
    held = "held"
    if parts > 1:
        of = f"hash(CAST({identifier(recompute.by)} AS VARCHAR)) % {parts} = {part}"
        counted = f"SELECT * FROM ({counted}) WHERE {of}"
        held = f"(SELECT * FROM held WHERE {of})"
    snapshots.define(counted, "counted", "bronze_then")
    [[recomputed]] = connection.execute(
        f"CREATE OR REPLACE TEMP TABLE wanted AS {recompute.sql}"
    ).fetchall()
    wanted, kinds = (_kinds(snapshots, view) for view in ("wanted", "held"))
    report = replace(before, recomputed=(before.recomputed or 0) + recomputed)
    if odd := {name for name, _ in wanted.items() ^ kinds.items()}:
        return replace(report, fault=f"columns differ: {', '.join(sorted(odd))}")
    differing, first = differences(connection, [*wanted], recompute.keys, held)
    return replace(report, differing=before.differing + differing, first=before.first or first)


def moment(snapshots: Snapshots, bronze: Pin, version: int) -> None:
    """The view ``moment`` of one row: the watermark that bronze had at the version.

    It is the greatest of those that rows were marked by, and of what the newest commit says.
    """
    note = snapshots.note(bronze.name, "ends", version) if version >= 0 else None
    told = Ends.read(note).watermark if note else None
    literal = f"TIMESTAMPTZ {text(told.isoformat())}" if told else "NULL"
    snapshots.define(
        f"SELECT greatest(max(watermark), {literal}) AS watermark FROM bronze_then",
        "moment",
        "bronze_then",
    )


def terms(snapshots: Snapshots, table: str, version: int, name: str) -> None:
    """What the table says that it was made by: the views ``timeout`` and ``asked``.

    ``timeout`` has one row: how many microseconds of silence divide its sessions; ``asked`` the
    names of the columns that are counted exactly.
    """
    timeouts, exact = (
        (snapshots.note(table, key, version) or {}).get(name) for key in (TIMEOUTS, EXACT)
    )
    snapshots.define(f"SELECT CAST({int(timeouts or 0)} AS BIGINT) AS micros", "timeout")
    snapshots.define(f"SELECT unnest(CAST([{texts(exact or ())}] AS VARCHAR[])) AS name", "asked")


def _kinds(snapshots: Snapshots, view: str) -> dict[str, str]:
    """Each column's kind, whatever room it has before the point: fewer places after it round."""
    return {name: _kind(kind) for name, kind in snapshots.kinds(view).items()}


def _kind(kind: str) -> str:
    if exact := _EXACT.fullmatch(kind):
        return f"EXACT {exact[1] or 0}"
    return re.split(r"[ (\[]", kind)[0]


def differences(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[str],
    keys: Sequence[str],
    held: str = "held",
) -> tuple[int, tuple[dict[str, Any], ...]]:
    """How ``held`` differs from ``wanted``: how many keys do; the first of them, by column.

    A key may have another row, or more or fewer rows.
    """
    made = connection.execute(_DIFFERING.format(columns=listed(columns), held=held))
    if made.fetchall() == [(0,)]:
        return 0, ()
    differing = count(connection, f"(SELECT DISTINCT {listed(keys)} FROM differing)")
    rows = query(connection, _FIRST.format(keys=listed(keys), sample=SAMPLE))
    sides: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows.to_pylist():
        place = sides.setdefault(tuple(row[k] for k in keys), {})
        place["held" if row["side"] < 0 else "wanted"] = row
    first: list[dict[str, Any]] = []
    for key, pair in sides.items():
        first += _explained(dict(zip(keys, key, strict=True)), pair)
    return differing, tuple(first)


def _explained(key: dict[str, Any], pair: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns of one key that differ, or that one side has no such row."""
    held, wanted = pair.get("held"), pair.get("wanted")
    if held is None or wanted is None:
        row = held or wanted or {}
        times = abs(int(row.get("side", 0)))
        sides = (times, 0) if wanted is None else (0, times)
        return [{"key": key, "column": "(rows too many)" if wanted is None else "(rows lacking)",
                 "held": sides[0], "recomputed": sides[1]}]  # fmt: skip
    return [
        {"key": key, "column": column, "held": held[column], "recomputed": wanted[column]}
        for column in held
        if column != "side" and held[column] != wanted[column]
    ]
