"""What the distinct counts and favourites of a flow need, at one bronze version.

It is kept in memory, absorbed increment by increment, and written when it is due; so its
tables lag behind the aggregates, and a start absorbs from bronze what they lack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.core import failpoint
from lakehouse.core.errors import TableDamaged
from lakehouse.core.failpoint import Step
from lakehouse.model.flow import SilverFlow
from lakehouse.settings.sections import SilverSettings
from lakehouse.silver.finer import TORN, FavouriteState, FinerState, gained_by, text_schema
from lakehouse.silver.tables import SilverTables, units_schema
from lakehouse.storage.duck import Source, reading
from lakehouse.storage.follower import NOTHING, Applied
from lakehouse.storage.increments import Increment
from lakehouse.storage.table import Table

Steps = Callable[[int, int], Iterator[Increment]]
Load = Callable[[Increment], None]


def applied_of(table: Table) -> Applied | None:
    """What a table's newest commit says that it has applied."""
    return Applied.read(table.last_note("source"))


class SilverState:
    """The state of one flow, loaded from its tables; ``rows`` is what it absorbs."""

    def __init__(
        self,
        flow: SilverFlow,
        settings: SilverSettings,
        tables: SilverTables,
        connection: duckdb.DuckDBPyConnection,
        rows: Source,
    ) -> None:
        self._settings = settings
        self.gained = {n: Source(s) for a in flow.aggregates for n, s in gained_by(a).items()}
        """What the last increment gained, under the names that the aggregates read."""
        self.finers = [
            FinerState(
                finer,
                tables.finer(finer.name, text_schema(finer.keys)),
                reading(connection, {"rows": rows}),
            )
            for finer in flow.finers
        ]
        self.favourites = [
            FavouriteState(
                aggregate,
                name,
                favourite,
                tables.finer(favourite.finer, units_schema(aggregate, favourite.of)),
                reading(connection, {"rows": rows}),
            )
            for aggregate in flow.aggregates
            for name, favourite in (aggregate.favourite or {}).items()
        ]
        for state in self:
            state.held = _version(state.table)
        self._persisted_at = time.monotonic()

    def __iter__(self) -> Iterator[FinerState | FavouriteState]:
        return iter([*self.finers, *self.favourites])

    @property
    def tables(self) -> list[Table]:
        """The tables that it is written to."""
        return [state.table for state in self]

    def is_ahead(self, version: int) -> bool:
        """Whether a fold failed on the way: the state has rows that this version lacks."""
        return any(state.held == TORN or state.held > version for state in self)

    def align(self, version: int, steps: Steps, load: Load) -> None:
        """Absorb what lies between each table and a version.

        ``steps`` gives the increments, ``load`` puts the rows of one where they are read.
        """
        if any(_version(table) > version for table in self.tables):
            raise TableDamaged("a finer table", "is ahead of what counts it", "it is folded anew")
        for state in self:
            for step in steps(state.held, version):
                load(step)
                state.held = TORN
                state.absorb()
                state.held = step.version

    def absorb(self, version: int, pool: Executor) -> None:
        """Take in the rows at hand, after which it is at a version."""
        states = [*self]
        for state in states:
            state.held = TORN  # of no version, until all of it is taken in
        for found in pool.map(_absorbed, states):
            for name, gained in found.items():
                self.gained[name].put(gained)
        for state in states:
            state.held = version

    def forget(self) -> None:
        """Let go of what it holds in memory."""
        self.finers, self.favourites = [], []

    def is_due(self) -> bool:
        """Whether enough has come, or has waited long enough, to be written."""
        pending = sum(state.pending_rows for state in self)
        waited = time.monotonic() - self._persisted_at
        return pending >= self._settings.finer_persist_rows or (
            pending > 0 and waited >= self._settings.finer_persist_interval.total_seconds()
        )

    def persist(self, version: int, note: Callable[[], dict[str, Any]]) -> None:
        """Write what is pending of each table in one commit that carries ``note``.

        State that a failed fold left ahead of the version, or torn, is not written: the
        next start reads what its table lacks from bronze.
        """
        for state in self:
            if state.held == version and (state.pending_rows or _version(state.table) < state.held):
                failpoint.reach(Step.FINER_DUE)
                state.persist(note())
                failpoint.reach(Step.FINER_COMMITTED)
        self._persisted_at = time.monotonic()


def _absorbed(state: FinerState | FavouriteState) -> dict[str, pa.Table]:
    return state.absorb()


def _version(table: Table) -> int:
    applied = applied_of(table)
    return applied.version if applied else NOTHING
