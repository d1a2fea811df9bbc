"""Publishes the tables of one flow: what each one lacks, and whose turn it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from lakehouse.core import failpoint
from lakehouse.core.errors import LakehouseError, TableDamaged
from lakehouse.core.failpoint import Step
from lakehouse.settings.sections import SilverSettings
from lakehouse.silver.fold import Fold
from lakehouse.silver.journal import Journal
from lakehouse.silver.published import Published
from lakehouse.silver.state import SilverState
from lakehouse.silver.store import StoreDamaged
from lakehouse.silver.tables import applied_of
from lakehouse.silver.turns import Turns
from lakehouse.storage.follower import Applied, version_of

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
    ) -> None:
        self._folds, self._state, self._note = folds, state, note
        self.every: dict[str, Published] = {**folds, **state.tables}
        """By name: aggregates before the tables of state that they count."""
        self.turns = Turns(settings)
        self.held = {name: applied_of(one.table) for name, one in self.every.items()}
        """Table → what its metadata says that it has applied."""

    def versions(self) -> dict[str, int]:
        """Table → the version of bronze that it has applied."""
        return {name: version_of(one) for name, one in self.held.items()}

    def due(self, applied: Applied | None) -> None:
        """Publish the tables whose turn it is, up to what the state has applied.

        A table of state is published only after all aggregates.
        """
        pending, turns = self.journal.pending, self.turns
        state = [name for name in self._state.latest if turns.due(name, pending[name])]
        finer = self._state.finer
        if turns.finer_due((pending[name], self.every[name].rows) for name in finer):
            state += finer
        if state:
            self._publish(self._lacking(self._folds, applied), applied)
            self._publish(self._lacking(state, applied), applied)
        else:
            due = [name for name in self._folds if turns.due(name, pending[name])]
            self._publish(due, applied)
        if self.turns.level_due():
            self._level(applied)

    def everything(self, applied: Applied | None) -> None:
        """Bring every table up to what the state has applied."""
        for names in (self._folds, self._state.tables):
            self._publish(self._lacking(names, applied), applied)

    def _level(self, applied: Applied | None) -> None:
        """Commit only the version to tables that did not change: else they would seem to lag.

        Tables of state wait until every aggregate has that version.
        """
        pending = self.journal.pending
        for names in (self._folds, self._state.tables):
            if names is self._folds or not self._lacking(self._folds, applied):
                idle = [n for n in self._lacking(names, applied) if not pending[n].rows]
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

        def publish(name: str) -> None:
            published, is_state = self.every[name], name in self._state.tables
            if is_state:
                failpoint.reach(Step.FINER_DUE)
            started = time.perf_counter()
            written = published.publish(self.journal.rows(name, published.schema), note)
            self.turns.took(name, time.perf_counter() - started, written)
            self.held[name] = applied
            failpoint.reach(Step.FINER_COMMITTED if is_state else Step.SILVER_TABLE_COMMITTED)

        names = sorted(names, key=lambda name: -pending[name].rows)  # the longest first
        with ThreadPoolExecutor(AT_ONCE, "silver") as pool:
            turns = [pool.submit(publish, name) for name in names]
            wait(turns)
        failpoint.reach(Step.SILVER_FOLDED)
        done = [name for name, turn in zip(names, turns, strict=True) if not turn.exception()]
        self.journal.forget(done, applied.version)
        for turn in turns:
            if isinstance(error := turn.exception(), TableDamaged):
                raise _told(error)
            turn.result()

    def _look_again(self, name: str) -> None:
        """Ask the table: what failed after its commit was made is published all the same."""
        held = applied_of(self.every[name].table)
        if held != self.held[name]:
            self.held[name] = held
            self.journal.forget([name], version_of(held))


def _told(damage: TableDamaged) -> LakehouseError:
    """The error to raise: no reason to start anew, since the next try publishes what is pending."""
    if isinstance(damage, StoreDamaged):
        return damage
    return LakehouseError(damage.place, damage.fault, damage.remedy)
