"""``lakehouse rebuild``: silver recreated beside itself from one bronze version, compared, swapped.

Readers see the old rows until one commit a table puts the new ones in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable

from lakehouse.audit.compare import differences
from lakehouse.audit.fingerprints import check_fingerprint
from lakehouse.audit.pins import Snapshots, count, engine
from lakehouse.core.errors import LakehouseError, TableDamaged, UsageError
from lakehouse.core.paths import Lake
from lakehouse.core.progress import advance
from lakehouse.core.text import Say
from lakehouse.model.flow import SilverFlow
from lakehouse.operations.in_memory import in_memory
from lakehouse.products.registry import flows
from lakehouse.settings.settings import Settings
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.silver.rebuilt import beside, half_made, take_place
from lakehouse.storage.health import lacking_files, opened


@dataclass(frozen=True)
class Rebuilt:
    """One table before and after; ``source`` and ``before`` are bronze versions.

    ``rows_before`` is None where the old table could not be read. ``differing``
    counts keys whose rows differ, the first of them in ``first``.
    """

    table: str
    before: int | None
    source: int
    rows_before: int | None
    rows: int
    differing: int | None = None
    first: tuple[dict[str, Any], ...] = ()

    def told(self) -> Iterator[str]:
        """In words: a line, and one for each difference."""
        was = "none that could be read"
        told = "not compared"
        if self.rows_before is not None:
            was = f"{self.rows_before:,} rows"
            told = f"not compared: it held bronze version {self.before}, not {self.source}"
        if self.differing is not None:
            told = f"{self.differing:,} keys differed" if self.differing else "the same"
        yield f"{self.table}: before {was}, now {self.rows:,}: {told}"
        for row in self.first:
            key = ", ".join(str(value) for value in row["key"].values())
            yield f"    {key}: {row['column']} was {row['held']}, is {row['recomputed']}"


def silver_flow(target: str) -> SilverFlow:
    """The silver flow of a product, of a flow's name or of one of its tables; UsageError."""
    silver = [flow for flow in flows() if isinstance(flow, SilverFlow)]
    for flow in silver:
        if target in {flow.product, flow.name, *flow.tables}:
            return flow
    known = ", ".join([*(f.product for f in silver), *(t for f in silver for t in f.tables)])
    raise UsageError(f"{target!r}", "is no silver table and no product", f"use one of {known}")


@in_memory
def rebuild(flow: SilverFlow, settings: Settings, say: Say) -> list[Rebuilt]:
    """Make a product's silver tables again; the caller holds their locks.

    They advance as one group, so they are rebuilt as one. Run again after a crash
    it goes on; a table is swapped in one commit, the coarser before the finer.
    """
    lake = Lake(settings.lake.root)
    with engine(settings) as connection, beside(settings, flow.product) as apart:
        old = Snapshots(settings.lake.root, connection)
        opened(lake.table(f"bronze.{flow.product}"))
        before = {name: _source(old, name) for name in flow.tables}
        version = _pinned(flow, lake, before)
        must_be_whole(old, f"bronze.{flow.product}", "rebuild")
        say(f"folding bronze.{flow.product} at version {version}, beside silver as it is")
        new = half_made(
            lambda: SilverPublisher.open(
                flow, apart, connection.cursor(), lake.table(f"bronze.{flow.product}")
            ),
            Path(apart.lake.root),
            lambda begun: begun == version,
        )
        new.fold_from_nothing(version)
        tables, found = flow.tables, []
        for name in tables:
            found.append(
                _compared(connection, old, apart.lake.root, flow, name, before[name], version)
            )
            advance("comparing with silver as it is", len(found), len(tables), "tables")
        unreadable = {name for name, note in before.items() if note is None}
        for name in take_place(new, settings, unreadable):
            say(f"swapped {name}")
    return found


def must_be_whole(lake: Snapshots, bronze: str, verb: str) -> None:
    """Raise TableDamaged where bronze is not what its commits say: a verb would conceal that."""
    found = check_fingerprint(lake, bronze, int(lake.open(bronze).version()))
    if found.fault or found.doubt:
        raise TableDamaged(
            bronze,
            found.fault or found.doubt,
            f"lakehouse audit {bronze.partition('.')[2]} names the place; go back to a backup "
            f"(lakehouse restore), or RESTORE the version before it, then {verb}",
        )


def _source(old: Snapshots, name: str) -> dict[str, Any] | None:
    """What the table's newest note says of its source; None where it cannot be read."""
    try:
        table = opened(old.lake.table(name)) if old.exists(name) else None
        if table is None:
            return None
        return dict(old.note(name, "source", int(table.version())) or {"version": -1})
    except LakehouseError:
        return None


def _pinned(flow: SilverFlow, lake: Lake, before: dict[str, dict[str, Any] | None]) -> int:
    """The version that the tables have applied, so that both can be compared; else the newest."""
    uri = lake.table(f"bronze.{flow.product}")
    newest = DeltaTable(uri)
    sources = [before[flow.table(aggregate.name)] or {} for aggregate in flow.aggregates]
    versions = {int(source.get("version", -1)) for source in sources}
    ids = {source.get("id") for source in sources}
    version = versions.pop()
    if versions or ids != {str(newest.metadata().id)} or not 0 <= version <= newest.version():
        return int(newest.version())
    try:
        whole = not lacking_files(DeltaTable(uri, version=version), uri)
    except Exception:  # noqa: BLE001  # the log no longer has the version, however it says so
        whole = False
    return version if whole else int(newest.version())


def _compared(
    connection: duckdb.DuckDBPyConnection,
    old: Snapshots,
    beside: str,
    flow: SilverFlow,
    name: str,
    before: dict[str, Any] | None,
    version: int,
) -> Rebuilt:
    wanted = Snapshots(beside, connection).pin("wanted", name)
    rows = count(connection, "wanted")
    if before is None:
        return Rebuilt(name, None, version, None, rows)
    held = old.pin("held", name)
    source = int(before["version"])
    report = Rebuilt(name, source, version, count(connection, "held"), rows)
    if source != version or set(held.columns) != set(wanted.columns):
        return report
    differing, first = differences(connection, wanted.columns, _keys(flow, name, wanted.columns))
    return replace(report, differing=differing, first=first)


def _keys(flow: SilverFlow, name: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """A table's keys: an aggregate's own; all columns of a finer table but what it counts."""
    for aggregate in flow.aggregates:
        if flow.table(aggregate.name) == name:
            return tuple(aggregate.keys)
    if flow.keyed and name == flow.table(flow.keyed.current):
        return (flow.keyed.key,)
    if flow.keyed and name == flow.table(flow.keyed.history):
        return (flow.keyed.key, "started_at")
    return tuple(column for column in columns if column != "units")
