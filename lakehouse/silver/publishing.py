"""Publishes the tables of one flow: what each one lacks, and whose turn it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lakehouse.core import failpoint
from lakehouse.core.errors import LakehouseError, TableDamaged
from lakehouse.core.failpoint import Step
from lakehouse.core.metrics import PUBLISHED_BYTES, PUBLISHED_ROWS, TURNS
from lakehouse.settings.sections import SilverSettings
from lakehouse.silver.fold import Fold
from lakehouse.silver.handed import Handed, Piece
from lakehouse.silver.journal import Entry, Journal, rows_of
from lakehouse.silver.lane import Lane, together
from lakehouse.silver.published import Appended, Published
from lakehouse.silver.state import SilverState
from lakehouse.silver.store import StoreDamaged
from lakehouse.silver.tables import applied_of
from lakehouse.silver.turns import Turns
from lakehouse.storage.follower import Applied, version_of
from lakehouse.storage.upkeep import Upkeep

AT_ONCE = min(4, os.cpu_count() or 1)
"""Tables that are worked on at a time: more would take memory, and no less time."""


class Publishing:
    """Merges the rows pending in ``journal`` into the tables; ``note`` makes the commit metadata.

    A table of state is never ahead of the aggregates that count it, so that a lost state can
    be rebuilt from the tables.
    """

    journal: Journal

    def __init__(
        self,
        folds: Mapping[str, Fold],
        state: SilverState,
        settings: SilverSettings,
        note: Callable[[Applied], dict[str, Any]],
        pool: ThreadPoolExecutor,
        handed: Callable[[], Handed] = Handed,
    ) -> None:
        self._folds, self._state, self._note, self._handed = folds, state, note, handed
        self.every: dict[str, Published] = {**folds, **state.tables}
        """By name: aggregates before the tables of state that they count."""
        self.turns, self.lane, self._pool = Turns(settings, windowed=state.windowed), Lane(), pool
        self._upkeep = {
            name: Upkeep(one.table, compacts=isinstance(one, Appended))
            for name, one in self.every.items()
        }
        self.held = {name: applied_of(one.table) for name, one in self.every.items()}
        """Table → what its metadata says that it has applied."""
        self._unsure: set[str] = set()
        """Tables whose last turn failed: its commit may have been made all the same."""
        self._beside: dict[str, Applied] = {}
        """The tables in the lane, and what they have applied when it is done."""

    def versions(self) -> dict[str, int]:
        """Table → the version of bronze that it has applied."""
        return {name: version_of(one) for name, one in self.held.items()}

    def due(self, applied: Applied | None) -> None:
        """Publish the tables whose turn it is, up to what the state has applied.

        Small ones at once, large ones in the lane, one piece of work after the other. A
        table of state is published only after all aggregates.
        """
        self._meet(at_end=False)
        state = [] if self.lane.is_busy else self._state_due()
        if state:
            folds = self._lacking(self._folds, applied)
        else:
            pending = self.journal.pending
            folds = [n for n in self._folds if self.turns.due(n, pending[n])]
        small = self._small(folds)
        self._publish([n for n in small if n not in self._beside], applied)
        if not self.lane.is_busy:
            state, large = self._lacking(state, applied), [n for n in folds if n not in small]
            at_once = [] if large else self._small(state)
            self._publish(at_once, applied)
            self._begin([*large, *(n for n in state if n not in at_once)], applied)
        if self.turns.level_due():
            self._level(applied)

    def everything(self, applied: Applied | None) -> None:
        """Bring every table up to what the state has applied."""
        self._meet(at_end=True)
        for names in (self._folds, self._state.tables):
            self._publish(self._lacking(names, applied), applied)

    def upkeep(self) -> None:
        """Remove what is old of the tables that are not in the lane."""
        for name, upkeep in self._upkeep.items():
            if name not in self._beside:
                upkeep.run()

    def settle(self) -> None:
        """Wait until the lane is at its end: until then its tables are written."""
        self.lane.settle()

    def _small(self, names: Iterable[str]) -> list[str]:
        pending = self.journal.pending
        return [n for n in names if self.turns.is_small(n, self.every[n].rows + pending[n].rows)]

    def _state_due(self) -> list[str]:
        """The tables of state whose turn it is."""
        pending, finer = self.journal.pending, self._state.finer
        due = [name for name in self._state.latest if self.turns.due(name, pending[name])]
        if self.turns.finer_due({name: (pending[name], self.every[name].rows) for name in finer}):
            due += finer
        return due

    def _level(self, applied: Applied | None) -> None:
        """Commit only the version to tables that did not change: else they would seem to lag.

        Tables of state wait until every aggregate has that version.
        """
        pending = self.journal.pending
        for names in (self._folds, self._state.tables):
            if names is self._folds or not self._lacking(self._folds, applied):
                lacking = self._lacking(names, applied)
                idle = [n for n in lacking if not pending[n].rows and n not in self._beside]
                self._publish(idle, applied)

    def _lacking(self, names: Iterable[str], applied: Applied | None) -> list[str]:
        """The tables among ``names`` that lack something, be it only the version."""
        pending = self.journal.pending
        return [n for n in names if pending[n].rows or self.held[n] != applied]

    def _publish(self, names: Collection[str], applied: Applied | None) -> None:
        """Merge the pending rows of these tables in parallel, then remove them from the journal."""
        if not names or applied is None:
            return
        for name in names:
            self._look_again(name)
        note, pending = self._note(applied), self.journal.pending
        names = sorted(names, key=lambda name: -pending[name].rows)  # the longest first
        entries = {name: self.journal.entries(name) for name in names}
        turns = together(self._pool, lambda n: self._turn(n, entries[n], note, applied), names)
        self._forget(names, applied)
        for turn in turns:
            if isinstance(error := turn.exception(), TableDamaged):
                raise _told(error)
            turn.result()

    def _begin(self, names: Collection[str], applied: Applied | None) -> None:
        """The same in the lane, one table after the other."""
        if not names or applied is None:
            return
        for name in names:
            self._look_again(name)
        note = self._note(applied)
        entries = {name: self.journal.entries(name) for name in names}

        def work() -> None:
            for name in names:
                self._turn(name, entries.pop(name), note, applied, self.lane.pause)

        self._beside = dict.fromkeys(names, applied)
        self.lane.begin(work)

    def _meet(self, *, at_end: bool) -> None:
        """Remove from the journal what the lane has published, once it is at its end."""
        try:
            self.lane.meet(at_end=at_end)
        except TableDamaged as damage:
            raise _told(damage) from None
        finally:
            if self._beside and not self.lane.is_busy:
                beside, self._beside = self._beside, {}
                [applied] = {*beside.values()}
                self._forget(beside, applied)

    def _turn(
        self,
        name: str,
        entries: Collection[Entry],
        note: Mapping[str, Any],
        applied: Applied,
        pause: Callable[[], None] | None = None,
    ) -> None:
        """Merge pending rows into one table; any thread may do it."""
        published, is_state = self.every[name], name in self._state.tables
        if is_state:
            failpoint.reach(Step.FINER_DUE)
        started = time.thread_time()
        self._unsure.add(name)
        rows, table = rows_of(entries, published.schema), f"silver.{Path(published.table.uri).name}"
        if isinstance(published, Fold) and self._handed().wants(table):
            written, whole = published.published(rows, note, pause)
            piece = Piece(published.key, version_of(self.held[name]), applied, whole)
            self._handed().put(table, piece)
        else:
            written = published.publish(rows, note, pause)
        self._upkeep[name].replaced(written.gone)
        took = time.thread_time() - started
        TURNS.labels(table).observe(took)
        PUBLISHED_ROWS.labels(table).inc(written.rows)
        PUBLISHED_BYTES.labels(table).inc(written.bytes)
        self.turns.took(name, took, written, rows.num_rows)
        self.held[name] = applied
        self._unsure.discard(name)
        failpoint.reach(Step.FINER_COMMITTED if is_state else Step.SILVER_TABLE_COMMITTED)

    def _forget(self, names: Iterable[str], applied: Applied) -> None:
        """Remove from the journal what those of these tables have that were committed."""
        failpoint.reach(Step.SILVER_FOLDED)
        done = [name for name in names if self.held[name] == applied]
        self.journal.forget(done, applied.version)

    def _look_again(self, name: str) -> None:
        """Ask a table that is unsure: what failed after its commit was made is published."""
        if name not in self._unsure:
            return
        held = applied_of(self.every[name].table)
        if held != self.held[name]:
            self.held[name] = held
            self.journal.forget([name], version_of(held))
        self._unsure.discard(name)


def _told(damage: TableDamaged) -> LakehouseError:
    """The error to raise: no reason to start over, since the next try publishes what is pending."""
    if isinstance(damage, StoreDamaged):
        return damage
    return LakehouseError(damage.place, damage.fault, damage.remedy)
