"""Silver follows bronze's versions: new rows are folded into the tables, as one group.

Each silver commit records the version of bronze that it has applied, so a fold that is
run again finds the tables it already wrote and leaves them. Aggregates commit first; the
finer tables that they count are written back later and record their own version (see
:mod:`lakehouse.silver.state`), the keyed tables last. What cannot be brought to one
version (see :mod:`lakehouse.storage.follower`) is made anew beside itself and swapped in.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import Lake
from lakehouse.model.flow import SilverFlow
from lakehouse.settings.settings import Settings
from lakehouse.silver.fold import Fold
from lakehouse.silver.latest import KeyedState, signed_schema
from lakehouse.silver.state import SilverState, applied_of
from lakehouse.silver.tables import SilverTables
from lakehouse.storage.anew import swap
from lakehouse.storage.duck import Source, patterns, query, reading
from lakehouse.storage.follower import NOTHING, Applied, Follower, Say
from lakehouse.storage.increments import Increment
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import Upkeep


class SilverPublisher(Follower):
    """The silver tables of one product; its parts are the aggregates."""

    def __init__(
        self, flow: SilverFlow, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> None:
        super().__init__(flow.name, flow.product, settings, settings.silver.max_rows_per_fold)
        self.flow, self._connection = flow, connection
        self._rows = Source(flow.contract.schema)
        self._reader = reading(connection, {"rows": self._rows})
        self._folded = Source(signed_schema(flow.keyed)) if flow.keyed else self._rows

    @classmethod
    def open(
        cls, flow: SilverFlow, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> SilverPublisher:
        """With its tables, made where they are missing."""
        silver = cls(flow, settings, connection)
        silver._open()
        return silver

    def _open(self) -> None:
        """The tables and their folds, and the state at the version that its tables record."""
        opened, flow = SilverTables(self.flow, self.settings), self.flow
        self.tables = {a.name: opened.aggregate(a) for a in flow.aggregates}
        self._state = SilverState(
            flow, self.settings.silver, opened, self._connection, self._folded
        )
        self._keyed: KeyedState | None = None
        if flow.keyed:
            cursor = reading(self._connection, {"rows": self._rows})
            self._keyed = KeyedState(flow.keyed, *opened.keyed(flow.keyed), cursor)
            self._keyed.held = min(
                one.version if (one := applied_of(table)) else NOTHING
                for table in self._keyed.tables
            )
        sources = {"rows": self._folded, **self._state.gained}
        self._folds = {
            a.name: Fold(a, self.tables[a.name], self._connection, sources) for a in flow.aggregates
        }
        self.applied = {name: applied_of(table) for name, table in self.tables.items()}
        self._upkeep = [Upkeep(table) for table in self.every_table()]

    def every_table(self) -> list[Table]:
        """The tables, the coarser before the finer that they count."""
        keyed = self._keyed.tables if self._keyed else ()
        return [*self.tables.values(), *self._state.tables, *keyed]

    def has_rows(self) -> bool:
        """Whether any table has a file."""
        return any(table.files() for table in self.every_table())

    def state(self) -> Collection[Applied | None]:
        """What the finer and the keyed tables record."""
        keyed = self._keyed.tables if self._keyed else ()
        return [applied_of(table) for table in (*self._state.tables, *keyed)]

    def catch_up(self, upto: int | None = None) -> int:
        """As every follower; state that a failed fold left ahead of the tables is read anew."""
        if self._state.is_ahead(self.version):
            self._open()
        return super().catch_up(upto)

    def follow(self, target: int) -> None:
        """As every follower, once keyed tables and state are at the aggregates' version."""
        if self._keyed is not None and self._keyed.held < self.version:
            for step in self.steps(self._keyed.held, self.version):
                self._load(step)
                self._keyed.absorb()
                self._persist_keyed(step.version)
        self._state.align(self.version, self.steps, self._load)
        super().follow(target)

    def start_anew(self, target: int) -> None:
        """Fold all of bronze beside the tables, a part at a time, then swap it in.

        A crash before or between the swaps leaves tables of which the next start finds
        again that they cannot go on, or that they can.
        """
        lake, flow = Lake(self.settings.lake.root), self.flow
        beside = self.settings.with_root(Path(lake.join("_rebuild", flow.product)))
        shutil.rmtree(beside.lake.root, ignore_errors=True)
        self._state.forget()  # not twice in memory
        new = SilverPublisher.open(flow, beside, self._connection)
        new.bronze_uri = self.bronze_uri
        new.fold_from_nothing(target)
        for table in new.every_table():
            name = ".".join(table.uri.rsplit("/", 2)[-2:])
            swap(lake, self.settings, name, table, readable=True)
        shutil.rmtree(beside.lake.root, ignore_errors=True)
        self._open()

    def fold_from_nothing(self, version: int, say: Say | None = None) -> None:
        """Fold all of bronze at a version into tables that are empty, a part at a time.

        ``say`` is told how many rows are folded, of how many. A crash leaves tables
        that have taken in nothing, by their notes.
        """
        self.open_bronze()
        for step in self.whole(version, say):
            self.apply(step)
        self.persist()

    def apply(self, step: Increment) -> None:
        """Fold an increment into the aggregates behind it; each commit records the version."""
        applied = self.at(step.version if step.is_last else NOTHING)
        note = self.note(applied)
        self._load(step)
        if self._keyed is not None:
            self._folded.put(self._keyed.absorb())

        def fold(name: str) -> None:
            self._folds[name].run(note)
            self.applied[name] = applied
            failpoint.reach(Step.SILVER_TABLE_COMMITTED)

        with ThreadPoolExecutor(len(self._folds), "silver") as pool:
            self._state.absorb(applied.version, pool)
            folds = [pool.submit(fold, name) for name in self.behind(step.version)]
            wait(folds)
        for done in folds:
            done.result()
        failpoint.reach(Step.SILVER_FOLDED)
        self._persist_keyed(applied.version)
        if self._state.is_due():
            self.persist()

    def _load(self, step: Increment) -> None:
        """Put an increment's rows, without copies, where the folds read them."""
        self._rows.clear()
        if step.rows is not None:
            self._rows.put(step.rows.filter(pc.invert(step.rows["is_duplicate"])))
        elif step.files:
            self._rows.put(self._read(step.files))

    def _read(self, files: Sequence[str]) -> pa.Table:
        names = ", ".join(self.flow.contract.schema.names)
        return query(
            self._reader,
            f"SELECT {names} FROM (FROM read_parquet($files, hive_partitioning=false, "
            "union_by_name=true) WHERE NOT is_duplicate UNION ALL BY NAME FROM rows)",
            {"files": patterns(files)},
        )

    def _persist_keyed(self, version: int) -> None:
        if self._keyed is not None:
            failpoint.reach(Step.FINER_DUE)
            self._keyed.persist(self.note(self.at(version)), version)
            failpoint.reach(Step.FINER_COMMITTED)

    def maintain(self) -> None:
        """Between batches: compact and remove old files, as settings say."""
        for upkeep in self._upkeep:
            upkeep.run()

    def persist(self) -> None:
        """Write the finer tables back, each at the version that its state has."""
        self._state.persist(self.version, lambda: self.note(self.at(self.version)))
