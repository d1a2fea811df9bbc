"""Silver follows bronze's versions: new rows go into the state, and in turns into the tables.

A batch is one transaction of the store: what it changes in the state, what it leaves of each
table, and the version of bronze. Then the tables whose turn it is are merged with what is
pending of them; each commit records the version that the table has from there on.

Worked example. Version 8 of bronze is applied, ``by_country`` is small, ``by_client`` large.

- Before: the store and ``by_country`` are at 7, ``by_client`` at 3; its 4 to 7 are pending.
- The store commits 8. Crash here: the next start finds 8 pending for both, and publishes it.
- ``by_country`` commits 8. Crash here: the next start finds 8 in it and forgets it.
- After: ``by_client`` waits. Its turn merges 4 to 8, or more, in one commit.

A store that is lost, or is not of these tables and this bronze, is rebuilt from the tables
of state, which are never ahead of the aggregates, and from bronze's rows since. What cannot
be brought to one version (see :mod:`lakehouse.storage.follower`) is rebuilt from all of
bronze, beside itself and a part at a time, and swapped in. Each part is one transaction of the
store there, which says how many are done: a rebuild that was cut goes on after the last.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import structlog

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import Lake
from lakehouse.model.flow import SilverFlow
from lakehouse.settings.settings import Settings
from lakehouse.silver.folding import Folding
from lakehouse.silver.handed import Handed, Piece
from lakehouse.silver.in_parts import InParts
from lakehouse.silver.kept import Kept
from lakehouse.silver.keys import PROBE
from lakehouse.silver.publishing import AT_ONCE, Publishing
from lakehouse.silver.rebuilt import beside, half_made, take_place
from lakehouse.silver.store import StoreDamaged
from lakehouse.silver.tables import SilverTables
from lakehouse.silver.terms import other_terms, terms_of
from lakehouse.storage.follower import Applied, part_version, rank, version_of
from lakehouse.storage.increments import Increment
from lakehouse.storage.table import Table

STATE = "state"
"""The part that is the store."""
_OF_KEYED = 4
"""A fold of latest changes takes this part of the rows: it leaves two whole rows for each."""
log = structlog.get_logger("lakehouse")


class SilverPublisher(InParts):
    """The silver tables of one product; its parts are the aggregates, and the state."""

    def __init__(
        self,
        flow: SilverFlow,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        bronze: str = "",
    ) -> None:
        most = settings.silver.max_rows_per_fold
        most = max(1, most // _OF_KEYED) if flow.keyed else most
        super().__init__(flow.name, flow.product, settings, most)
        self.flow, self._connection = flow, connection
        self._pool = ThreadPoolExecutor(AT_ONCE, "silver")
        self.bronze_uri = bronze or self.bronze_uri
        self.handed = Handed()
        """Where sinks of this process wait for what tables gain."""

    @classmethod
    def open(
        cls,
        flow: SilverFlow,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        bronze: str = "",
    ) -> SilverPublisher:
        """With its tables, made where they are missing; ``bronze`` may be of another root."""
        silver = cls(flow, settings, connection, bronze)
        silver._open()
        return silver

    def _open(self) -> None:
        """The tables and their folds, and the state where it can be believed."""
        self._is_torn = False
        opened, flow = SilverTables(self.flow, self.settings), self.flow
        self.tables = {a.name: opened.aggregate(a) for a in flow.aggregates}
        self._terms = terms_of(flow, self.settings.product(flow.product))
        self._folding = Folding(
            flow, opened, self.tables, self._connection, self.bronze_uri, self._terms, self._pool
        )
        self._state = self._folding.state
        self._publishing = Publishing(
            self._folding.folds, self._state, self.settings.silver, self.note, self._pool,
            lambda: self.handed,
        )  # fmt: skip
        [(engine,)] = self._connection.execute(PROBE).fetchall()
        like = {"engine": engine, "tables": sorted(self._publishing.every), **self._terms}
        if flow.sessions:
            like["pieces"] = "in columns"
        if flow.keyed:
            like["latest"] = "by block"
        folder = Lake(self.settings.lake.root).state(flow.name)
        self.kept = Kept(folder, like, self._state, self._publishing, self.bronze_uri)
        self._begin()

    def _begin(self) -> None:
        """What each part has applied: a table has what the store holds for it, too."""
        kept = self.kept.applied
        self.applied = {
            name: kept if rank(version_of(kept)) > rank(version_of(one)) else one
            for name, one in self._publishing.held.items() if name in self._folding.folds
        }  # fmt: skip
        if kept:
            self.applied[STATE] = kept

    def every_table(self) -> list[Table]:
        """The tables, the coarser before the finer that they count."""
        return [published.table for published in self._publishing.every.values()]

    def has_rows(self) -> bool:
        """Whether any table has a file."""
        return any(table.files() for table in self.every_table())

    def state(self) -> Collection[Applied | None]:
        """What the tables of state record."""
        return [self._publishing.held[name] for name in self._state.tables]

    def note(self, applied: Applied) -> dict[str, Any]:
        """As every follower; with the terms that the tables are made by."""
        return {**super().note(applied), **self._terms}

    def changed(self) -> str:
        """As every follower: tables that were made by other terms are of no use."""

        def told(name: str, key: str) -> dict[str, Any] | None:
            if self._publishing.held[name] is None:
                return None
            return self._publishing.every[name].table.last_note(key) or {}

        return other_terms(self._terms, told)

    def catch_up(self, upto: int | None = None) -> int:
        """As every follower; tables that a rebuild left half way are opened again."""
        if self._is_torn:
            self._open()
        try:
            return super().catch_up(upto)
        finally:
            self.settle()

    def settle(self) -> None:
        """As every follower: no table is written any more."""
        self._publishing.settle()

    def follow(self, target: int) -> None:
        """As every follower, once there is a state; one that turns out damaged is rebuilt."""
        try:
            self._follow(target)
        except StoreDamaged as damage:
            self._forget_state(str(damage))
            self._follow(target)

    def _follow(self, target: int) -> None:
        self.make_state()
        super().follow(target)
        self._publishing.due(self.applied[STATE])  # what a crash, or a new state, left pending

    def take(self, after: int, version: int, rows: pa.Table | None) -> None:
        """As every follower; from bronze's files where there is no state yet."""
        try:
            super().take(after, version, rows if self.kept.is_ready else None)
        except StoreDamaged as damage:
            self._forget_state(str(damage))
            self.catch_up(version)

    def _forget_state(self, reason: str) -> None:
        self.settle()
        log.warning("the state is rebuilt from the tables", flow=self.name, reason=reason)
        self.kept.forget()
        self._begin()

    def make_state(self) -> None:
        """Where there is no state, make it of the tables and of bronze's rows since, in parts."""
        if self.kept.is_ready:
            return
        self._begin()
        load = partial(self._folding.load, self.kept)
        self.kept.make(self.at(self.version), self.flow.product, self.steps, load)
        self.applied[STATE] = self.kept.applied

    def start_over(self, target: int) -> None:
        """Fold all of bronze beside the tables, a part at a time, then swap it in.

        A crash before or between the swaps leaves tables of which the next start finds
        again that they cannot go on, or that they can.
        """
        self.settle()
        self._is_torn = True
        self.kept.forget()
        with beside(self.settings, self.flow.product) as settings:
            new = half_made(
                lambda: SilverPublisher.open(
                    self.flow, settings, self._connection, self.bronze_uri
                ),
                Path(settings.lake.root),
                lambda begun: self.is_followed(begun, target),
            )
            new.stop = self.stop
            new.fold_from_nothing(new.begun or target)
            for _ in take_place(new, self.settings):
                pass
        self._open()
        if self.version < target:
            self.follow(target)

    def apply(self, step: Increment) -> None:
        """Take an increment into the state, and what it leaves into the tables whose turn it is."""
        with self._publishing.lane.folding():
            applied = self.at(step.version if step.is_last else part_version(step.part))
            behind = [name for name in self.behind(step.version) if name != STATE]
            kept, held = self.kept, self._publishing.versions()
            left = self._folding.fold(step, applied, behind, held, kept, self.say_part)
            for name, (table, key) in self._state.whole.items():
                self.handed.put(table, Piece(key, version_of(kept.applied), applied, left[name]))
            self.handed.ring()
            kept.applied = applied
            self.applied.update(dict.fromkeys([*behind, STATE], applied))
            failpoint.reach(Step.STATE_STORED)
            self._publishing.due(applied)
            self.handed.ring()

    def maintain(self) -> None:
        """Between batches: publish what has waited long enough; remove what is old."""
        if self.kept.is_ready:
            self._publishing.due(self.applied[STATE])
        self._publishing.upkeep()

    def persist(self) -> None:
        """Publish all that is pending, and leave the state whole on disk."""
        self.settle()
        if self.kept.is_ready:
            self._publishing.everything(self.applied[STATE])
            self.kept.store.rest()

    def close(self) -> None:
        """Let go of the state, which is whole on disk then."""
        self.settle()
        self.kept.store.close()
