"""Silver follows bronze's versions: new rows are folded into the tables, as one group.

Each silver commit records bronze's table id and the version it has taken in,
so a fold that is run again finds the tables it already wrote and leaves them.
Coarser tables commit first; the finer tables that they count are written back
later and record their own version (see :mod:`lakehouse.silver.finer`). After a
crash every table is brought to the same version before a new one is taken. What
cannot be brought there is made anew, beside itself (see :mod:`lakehouse.storage.anew`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from deltalake import DeltaTable

from lakehouse.core import failpoint
from lakehouse.core.errors import TableDamaged, TableMissing
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import Lake
from lakehouse.model.flow import UNITS, Aggregate, SilverFlow
from lakehouse.settings.settings import Settings
from lakehouse.silver.finer import TORN, FavouriteState, FinerState, gained_by, text_schema
from lakehouse.silver.fold import Fold
from lakehouse.silver.latest import KeyedState, keyed_schemas, signed_schema
from lakehouse.silver.render import ARROW, table_columns
from lakehouse.storage.anew import parts, swap, warn
from lakehouse.storage.columns import widen_numbers
from lakehouse.storage.data_files import files_of
from lakehouse.storage.duck import Source, patterns, query, reading
from lakehouse.storage.health import check_log
from lakehouse.storage.increments import increments
from lakehouse.storage.log import commit_time, is_same_commit
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import Upkeep

log = structlog.get_logger("lakehouse")
NOTHING = -1
"""The version of a table that has taken in nothing."""


def silver_schema(aggregate: Aggregate) -> pa.Schema:
    """The Arrow schema of a silver table; its keys are never null."""
    return pa.schema(
        [
            pa.field(name, ARROW[kind], nullable=name not in aggregate.keys)
            for name, kind in table_columns(aggregate).items()
        ]
    )


class SilverPublisher:
    """The silver tables of one product, held by this process."""

    def __init__(
        self, flow: SilverFlow, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.flow, self.settings, self._connection = flow, settings, connection
        self._lake = Lake(settings.lake.root)
        self.bronze_uri = self._lake.table(f"bronze.{flow.product}")
        self._rows = Source(flow.contract.schema)
        self._reader = reading(connection, {"rows": self._rows})
        self._gained = {n: Source(s) for a in flow.aggregates for n, s in gained_by(a).items()}
        self._folded = Source(signed_schema(flow.keyed)) if flow.keyed else self._rows
        self._pool = ThreadPoolExecutor(len(flow.aggregates), "silver")
        self._open()

    def _open(self) -> None:
        """The tables, their folds, and the state."""
        self.tables = {a.name: self._table(a) for a in self.flow.aggregates}
        sources = {"rows": self._folded, **self._gained}
        self._folds = {
            a.name: Fold(a, self.tables[a.name], self._connection, sources)
            for a in self.flow.aggregates
        }
        self._load()

    def _table(self, aggregate: Aggregate) -> Table:
        table = Table.open(
            self._lake.table(self.flow.table(aggregate.name)),
            silver_schema(aggregate),
            self.settings,
            partition_by=[aggregate.partition] if aggregate.partition else [],
            description=aggregate.doc,
        )
        widen_numbers(table)
        return table

    def _load(self) -> None:
        """The state at the versions that the tables record; from nothing where they disagree."""
        self._finers = [
            FinerState(
                finer,
                self._finer_table(finer.name, text_schema(finer.keys)),
                reading(self._connection, {"rows": self._folded}),
            )
            for finer in self.flow.finers
        ]
        self._favourites = [
            FavouriteState(
                aggregate, name, favourite, table, reading(self._connection, {"rows": self._folded})
            )
            for aggregate in self.flow.aggregates
            for name, favourite in (aggregate.favourite or {}).items()
            for table in [
                self._finer_table(favourite.finer, _units_schema(aggregate, favourite.of))
            ]
        ]
        self._keyed = self._keyed_state()
        self._versions = {name: self._taken(table) for name, table in self.tables.items()}
        for state in self._states:
            state.held = self._taken(state.table)
        self._upkeep = [Upkeep(table) for table in self.every_table()]
        self._persisted_at = time.monotonic()

    def _keyed_state(self) -> KeyedState | None:
        if (keyed := self.flow.keyed) is None:
            return None
        current, history = (
            Table.open(
                self._lake.table(self.flow.table(name)), schema, self.settings,
                partition_by=["block"], description=f"{name} of {self.flow.product}",
            )
            for name, schema in keyed_schemas(keyed).items()
        )  # fmt: skip
        cursor = reading(self._connection, {"rows": self._rows})
        state = KeyedState(keyed, current, history, cursor)
        state.held = min(self._taken(table) for table in state.tables)
        return state

    @property
    def _states(self) -> list[FinerState | FavouriteState]:
        return [*self._finers, *self._favourites]

    def every_table(self) -> list[Table]:
        """The tables, the coarser before the finer that they count."""
        keyed = self._keyed.tables if self._keyed else ()
        return [*self.tables.values(), *(state.table for state in self._states), *keyed]

    def _finer_table(self, name: str, schema: pa.Schema) -> Table:
        table = Table.open(
            self._lake.table(self.flow.table(name)), schema, self.settings,
            description=f"finer table of {self.flow.name}",
        )  # fmt: skip
        widen_numbers(table)
        return table

    def _taken(self, table: Table) -> int:
        note = table.last_note("source")
        return int(note["version"]) if note else NOTHING

    @property
    def version(self) -> int:
        """The bronze version that every table has taken in."""
        return min(self._versions.values())

    def catch_up(self, upto: int | None = None) -> int:
        """Take in what bronze's log has gained; the version that silver then holds.

        Raises TableMissing while bronze does not exist.
        """
        if not DeltaTable.is_deltatable(self.bronze_uri):
            raise TableMissing(
                f"bronze.{self.flow.product}",
                "does not exist yet",
                f"run {self.flow.product}.bronze first",
            )
        bronze = DeltaTable(self.bronze_uri)
        self._source = {"table": f"bronze.{self.flow.product}", "id": str(bronze.metadata().id)}
        target = bronze.version() if upto is None else upto
        if target != self.version:
            check_log(self.bronze_uri)
        if self._is_torn():
            self._load()
        if reason := self._must_start_anew(target):
            self._anew(target, reason)
            return target
        try:
            self._level(target)
        except (FileNotFoundError, TableDamaged) as error:
            self._anew(target, str(error))
        return target

    def _is_torn(self) -> bool:
        """Whether a fold failed on the way: the state has rows that the tables lack."""
        return any(state.held == TORN or state.held > self.version for state in self._states)

    def _must_start_anew(self, target: int) -> str:
        """Why the tables cannot go on from the versions that they have taken in; or nothing."""
        versions = set(self._versions.values())
        ids = {
            note["id"]
            for table in self.tables.values()
            if (note := table.last_note("source")) is not None
        }
        if NOTHING in versions and (
            len(versions) > 1 or any(t.files() for t in self.every_table())
        ):
            return "a table has taken in nothing that the others have"
        if max(versions) > target:
            return f"silver has taken in version {max(versions)}, and bronze is at {target}"
        if ids - {self._source["id"]}:
            return "silver is of another bronze table"
        if self._took_another_commit():
            return "bronze went back, and wrote other commits since"
        return ""

    def _took_another_commit(self) -> bool:
        """Whether bronze's log has another commit under a version that a table has taken in.

        So it is when bronze went back, and wrote on.
        """
        notes = (table.last_note("source") for table in self.every_table())
        return not all(is_same_commit(self.bronze_uri, note) for note in notes if note)

    def _at(self, version: int) -> dict[str, Any]:
        """What a commit says that holds bronze up to a version: which table, which commit."""
        time = commit_time(self.bronze_uri, version)
        return {**self._source, "version": version, "time": time}

    def _anew(self, target: int, reason: str) -> None:
        """Fold all of bronze beside the tables, a part at a time, then swap it in.

        A crash before or between the swaps leaves tables of which the next start finds
        again that they cannot go on, or that they can.
        """
        warn(self.flow.name, target, reason)
        beside = self.settings.with_root(Path(self._lake.join("_rebuild", self.flow.product)))
        shutil.rmtree(beside.lake.root, ignore_errors=True)
        self._finers, self._favourites = [], []  # not twice in memory
        new = SilverPublisher(self.flow, beside, self._connection)
        new.bronze_uri = self.bronze_uri
        flow = self.flow.name
        new.fold_from_nothing(
            target, lambda done, of: log.info("folding anew", flow=flow, rows=done, of=of)
        )
        for table in new.every_table():
            name = ".".join(table.uri.rsplit("/", 2)[-2:])
            swap(self._lake, self.settings, name, table, readable=True)
        shutil.rmtree(beside.lake.root, ignore_errors=True)
        self._open()

    def fold_from_nothing(self, version: int, say: Callable[[int, int], None]) -> None:
        """Fold all of bronze at a version into tables that are empty, a part at a time.

        ``say`` is told how many rows are folded, of how many. A crash leaves tables
        that have taken in nothing, by their notes.
        """
        bronze = DeltaTable(self.bronze_uri, version=version)
        self._source = {"table": f"bronze.{self.flow.product}", "id": str(bronze.metadata().id)}
        files = files_of(bronze)
        for part, done, total in parts(files, self.settings.silver.max_rows_per_fold):
            self._rows_of(part)
            self._fold(version if done == total else NOTHING, list(self.tables))
            say(done, total)
        self.persist()

    def _level(self, target: int) -> None:
        """Bring the finer state to the tables' version, then tables behind to those ahead."""
        finer = [t for t in self.every_table() if t not in self.tables.values()]
        if any(self._taken(table) > self.version for table in finer):
            raise TableDamaged(self.flow.name, "a finer table is ahead", "silver is folded anew")
        self._keyed_upto(self.version)
        self._absorb_since_persisted(self.version)
        stops = sorted({*self._versions.values(), target} - {self.version})
        for stop in stops:
            names = [n for n, v in self._versions.items() if v < stop]
            for step in self._steps(self.version, stop):
                self._rows_of(step.files)
                self._fold(step.version, names)

    def _absorb_since_persisted(self, upto: int) -> None:
        for state in self._states:
            for step in self._steps(state.held, upto):
                self._rows_of(step.files)
                state.held = TORN
                state.absorb()
                state.held = step.version

    def _keyed_upto(self, version: int) -> None:
        """Bring the keyed state to where the tables are that commit before it."""
        if self._keyed is not None and self._keyed.held < version:
            for step in self._steps(self._keyed.held, version):
                self._rows_of(step.files)
                self._keyed.absorb()
                self._persist_keyed(step.version)

    def _persist_keyed(self, version: int) -> None:
        if self._keyed is not None:
            failpoint.reach(Step.FINER_DUE)
            self._keyed.persist({"source": self._at(version), "flow": self.flow.name}, version)
            failpoint.reach(Step.FINER_COMMITTED)

    def _steps(self, after: int, upto: int) -> Any:
        return increments(self.bronze_uri, after, upto, self.settings.silver.max_rows_per_fold)

    def take(self, version: int, rows: pa.Table) -> None:
        """Fold the rows of one new bronze version that are at hand."""
        self._rows.put(rows.filter(pc.invert(rows["is_duplicate"])))
        self._fold(version, list(self.tables))

    def _rows_of(self, files: tuple[str, ...]) -> None:
        self._rows.clear()
        if files:
            names = ", ".join(self.flow.contract.schema.names)
            self._rows.put(
                query(
                    self._reader,
                    f"SELECT {names} FROM (FROM read_parquet($files, hive_partitioning=false, "
                    "union_by_name=true) WHERE NOT is_duplicate UNION ALL BY NAME FROM rows)",
                    {"files": patterns(files)},
                )
            )

    def _fold(self, version: int, names: list[str]) -> None:
        """Add ``rows`` to the named tables and record the version in each commit."""
        if self._keyed is not None:
            self._folded.put(self._keyed.absorb())
        for state in self._states:
            state.held = TORN  # of no version, until all of it is taken in
        for found in self._pool.map(lambda state: state.absorb(), self._states):
            for name, gained in found.items():
                self._gained[name].put(gained)
        for state in self._states:
            state.held = version
        note = {"source": self._at(version), "flow": self.flow.name}

        def fold(name: str) -> None:
            self._folds[name].run(note)
            self._versions[name] = version
            failpoint.reach(Step.SILVER_TABLE_COMMITTED)

        folds = [self._pool.submit(fold, name) for name in names]
        wait(folds)
        for done in folds:
            done.result()
        failpoint.reach(Step.SILVER_FOLDED)
        self._persist_keyed(version)
        if self._persist_is_due():
            self.persist()

    def _persist_is_due(self) -> bool:
        pending = sum(s.pending_rows for s in self._states)
        waited = time.monotonic() - self._persisted_at
        silver = self.settings.silver
        return pending >= silver.finer_persist_rows or (
            pending > 0 and waited >= silver.finer_persist_interval.total_seconds()
        )

    def maintain(self) -> None:
        """Between batches: compact and remove old files, as settings say."""
        for upkeep in self._upkeep:
            upkeep.run()

    def persist(self) -> None:
        """Write the finer tables back, each at the version that its state holds.

        A state that a failed fold left ahead of the tables, or torn, is not written: the
        next start reads what its table lacks from bronze.
        """
        for state in self._states:
            if state.held != self.version:
                continue
            if state.pending_rows or self._taken(state.table) < state.held:
                failpoint.reach(Step.FINER_DUE)
                state.persist({"source": self._at(state.held), "flow": self.flow.name})
                failpoint.reach(Step.FINER_COMMITTED)
        self._persisted_at = time.monotonic()


def _units_schema(aggregate: Aggregate, of: str) -> pa.Schema:
    keys = [pa.field(n, ARROW[kind], nullable=False) for n, (_, kind) in aggregate.keys.items()]
    return pa.schema(
        [*keys, pa.field(of, pa.string(), nullable=False), pa.field("units", ARROW[UNITS])]
    )
