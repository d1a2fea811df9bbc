"""The tables of one flow as they are published: what each lacks, and whose turn it is."""

from __future__ import annotations

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


class Publishing:
    """Merges what is pending in ``journal`` into the tables, with ``note`` of what they have then.

    No table of state is ahead of the aggregates that count it, so a state that is lost can be
    made anew of the tables.
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
        """By name, the coarser before the finer that they count."""
        self.turns = Turns(settings)
        self.held = {name: applied_of(one.table) for name, one in self.every.items()}
        """What each table says that it has applied."""

    def versions(self) -> dict[str, int]:
        """The version of bronze that each table has."""
        return {name: version_of(one) for name, one in self.held.items()}

    def due(self, applied: Applied | None) -> None:
        """Publish what is due of what the state has applied.

        With a table of state, all aggregates before it.
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
        """Bring every table to what the state has applied."""
        for names in (self._folds, self._state.tables):
            self._publish(self._lacking(names, applied), applied)

    def _level(self, applied: Applied | None) -> None:
        """Commit the version alone where nothing changed: else a table would seem to lag.

        Tables of state wait until every aggregate has it.
        """
        pending = self.journal.pending
        for names in (self._folds, self._state.tables):
            if names is self._folds or not self._lacking(self._folds, applied):
                idle = [n for n in self._lacking(names, applied) if not pending[n].rows]
                self._publish(idle, applied)

    def _lacking(self, names: Iterable[str], applied: Applied | None) -> list[str]:
        """Those of these tables that lack something, if only the version."""
        pending = self.journal.pending
        return [n for n in names if pending[n].rows or self.held[n] != applied]

    def _publish(self, names: Collection[str], applied: Applied | None) -> None:
        """Merge what is pending of these tables into them, side by side, and forget it."""
        if not names or applied is None:
            return
        for name in names:
            self._look_again(name)
        note = self._note(applied)

        def publish(name: str) -> None:
            published, is_state = self.every[name], name in self._state.tables
            if is_state:
                failpoint.reach(Step.FINER_DUE)
            started = time.perf_counter()
            written = published.publish(self.journal.rows(name, published.schema), note)
            self.turns.took(name, time.perf_counter() - started, written)
            self.held[name] = applied
            failpoint.reach(Step.FINER_COMMITTED if is_state else Step.SILVER_TABLE_COMMITTED)

        with ThreadPoolExecutor(len(names), "silver") as pool:
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
        """Believe the table: what failed after its commit was made has published all the same."""
        held = applied_of(self.every[name].table)
        if held != self.held[name]:
            self.held[name] = held
            self.journal.forget([name], version_of(held))


def _told(damage: TableDamaged) -> LakehouseError:
    """A table's fault as no reason to start anew: what is pending is published by the next try."""
    if isinstance(damage, StoreDamaged):
        return damage
    return LakehouseError(damage.place, damage.fault, damage.remedy)
