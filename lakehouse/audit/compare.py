"""Silver against bronze: each table compared, row by row, with a recompute of its own version."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from lakehouse.audit.pins import Pin, Snapshots, count
from lakehouse.audit.steps import Steps, is_told
from lakehouse.audit.topic import SAMPLE
from lakehouse.core.progress import advance
from lakehouse.core.sql import identifier, listed, text, texts
from lakehouse.ingest.ends import Ends
from lakehouse.model.recompute import Recompute, Recomputes
from lakehouse.model.window import EXACT, TIMEOUTS
from lakehouse.storage.duck import query


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
    """Rows that bronze gained, lost or marked anew since its applied version."""
    ahead: int = 0
    """Keys whose rows a sink has from a later version: left out until silver's table has that."""


_EXACT = re.compile(r"(?:[A-Z]*INT|INTEGER|DECIMAL\(\d+,\s*(\d+)\))")
_DIFFERING = """
CREATE OR REPLACE TEMP TABLE differing AS
SELECT {columns}, sum(side) AS side FROM (
    SELECT {columns}, 1 AS side FROM wanted UNION ALL SELECT {columns}, -1 FROM held
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
    say: Callable[[str], None],
) -> list[Compared]:
    """Compare every table; bronze is opened at the version that each one's newest note names."""
    found = []
    for recompute in recomputes.tables:
        name = f"silver.{product}_{recompute.name}"
        say(f"recomputing {name}")
        found.append(compare(snapshots, name, recomputes.counted, recompute, bronze))
        advance(f"recomputing silver of {product}", len(found), len(recomputes.tables), "tables")
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
    source = snapshots.note(name, "source", held.version) or {"version": -1, "id": bronze.id}
    found = Compared(name, held.version, int(source["version"]))
    terms(snapshots, found.table, found.version or 0, recompute.name)
    return compare_held(snapshots, found, str(source["id"]), counted, recompute, bronze)


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
    nothing = " AND false" if version < 0 else ""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW counted AS {counted}{nothing}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE wanted AS {recompute.sql}")
    wanted, kinds = (_kinds(connection, view) for view in ("wanted", "held"))
    columns = [*wanted]
    behind = max(0, bronze.version - max(version, 0))
    rows, recomputed = count(connection, "held"), count(connection, "wanted")
    if version < 0:
        lacking = count(connection, "bronze")
    else:  # a table may have applied what landed since bronze was pinned
        lacking = snapshots.changed_rows(bronze.name, version, max(version, bronze.version))
    report = replace(table, behind=behind, rows=rows, recomputed=recomputed, lacking=lacking)
    if odd := {name for name, _ in wanted.items() ^ kinds.items()}:
        return replace(report, fault=f"columns differ: {', '.join(sorted(odd))}")
    differing, first = differences(connection, columns, recompute.keys)
    connection.execute("DROP TABLE wanted")
    return replace(report, differing=differing, first=first)


def moment(snapshots: Snapshots, bronze: Pin, version: int) -> None:
    """The view ``moment`` of one row: the watermark that bronze had at the version.

    It is the greatest of those that rows were marked by, and of what the newest commit says.
    """
    note = snapshots.note(bronze.name, "ends", version) if version >= 0 else None
    told = Ends.read(note).watermark if note else None
    literal = f"TIMESTAMPTZ {text(told.isoformat())}" if told else "NULL"
    snapshots.connection.execute(
        "CREATE OR REPLACE TEMP VIEW moment AS "
        f"SELECT greatest(max(watermark), {literal}) AS watermark FROM bronze_then"
    )


def terms(snapshots: Snapshots, table: str, version: int, name: str) -> None:
    """What the table says that it was made by: the views ``timeout`` and ``asked``.

    ``timeout`` has one row: how many microseconds of silence divide its sessions; ``asked`` the
    names of the columns that are counted exactly.
    """
    timeouts, exact = (
        (snapshots.note(table, key, version) or {}).get(name) for key in (TIMEOUTS, EXACT)
    )
    for view, sql in (
        ("timeout", f"SELECT CAST({int(timeouts or 0)} AS BIGINT) AS micros"),
        ("asked", f"SELECT unnest(CAST([{texts(exact or ())}] AS VARCHAR[])) AS name"),
    ):
        snapshots.connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {sql}")


def _kinds(connection: duckdb.DuckDBPyConnection, view: str) -> dict[str, str]:
    """Each column's kind, whatever room it has before the point: fewer places after it round."""
    rows = connection.execute(f"DESCRIBE {identifier(view)}").fetchall()
    return {name: _kind(kind) for name, kind, *_ in rows}


def _kind(kind: str) -> str:
    if exact := _EXACT.fullmatch(kind):
        return f"EXACT {exact[1] or 0}"
    return re.split(r"[ (\[]", kind)[0]


def differences(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[str], keys: Sequence[str]
) -> tuple[int, tuple[dict[str, Any], ...]]:
    """How ``held`` differs from ``wanted``: how many keys do; the first of them, by column.

    A key may have another row, or more or fewer rows.
    """
    connection.execute(_DIFFERING.format(columns=listed(columns)))
    differing = count(connection, f"(SELECT DISTINCT {listed(keys)} FROM differing)")
    if not differing:
        return 0, ()
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
