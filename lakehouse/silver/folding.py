"""One increment of bronze, folded into a flow's state: one transaction of the store.

The transaction has what the increment changes in the state, what it leaves of each table until
that table's turn, and the version of bronze. After a crash all of it is there, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa

from lakehouse.model.flow import SilverFlow
from lakehouse.silver.fold import Fold
from lakehouse.silver.kept import Kept
from lakehouse.silver.lane import together
from lakehouse.silver.new_rows import NewRows
from lakehouse.silver.state import SilverState
from lakehouse.silver.tables import SilverTables
from lakehouse.silver.terms import Terms
from lakehouse.silver.watermark import before_next_part, watermark_at
from lakehouse.storage.follower import Applied
from lakehouse.storage.increments import Increment
from lakehouse.storage.table import Table


class Folding:
    """The folds of one flow, and the state that they need, over one increment at a time."""

    def __init__(
        self,
        flow: SilverFlow,
        opened: SilverTables,
        tables: Mapping[str, Table],
        connection: duckdb.DuckDBPyConnection,
        bronze_uri: str,
        terms: Terms,
        pool: ThreadPoolExecutor,
    ) -> None:
        """``tables`` are the aggregates', by name."""
        self._flow, self._bronze_uri, self._pool = flow, bronze_uri, pool
        self._rows = NewRows(flow, connection)
        every = self._rows.source
        self.state = SilverState(flow, opened, connection, every, tables, terms)
        folded, gained = self.state.folded, self.state.gained
        self.folds = {
            a.name: Fold(
                a, tables[a.name], connection,
                {"rows": every if a.of_changes else folded, **gained},
            )
            for a in flow.aggregates
        }  # fmt: skip

    def load(self, kept: Kept, step: Increment) -> int | None:
        """Put an increment's rows where the folds read them; gives the watermark after it.

        Of all of bronze in parts, by date, it is no later than the dates that are still to come.
        """
        self._rows.put(step)
        if not self._flow.follows_time:
            return None
        passed = [
            kept.watermark,
            self._rows.newest_watermark(step),
            watermark_at(self._bronze_uri, step),
        ]
        newest = max((one for one in passed if one is not None), default=None)
        kept.watermark = newest
        return newest if step.is_last else before_next_part(step, newest)

    def fold(
        self,
        step: Increment,
        applied: Applied,
        behind: Collection[str],
        held: Mapping[str, int],
        kept: Kept,
        also: Callable[[Increment], None],
    ) -> dict[str, pa.Table]:
        """Take an increment into the store; gives what it leaves of each table.

        ``behind`` are the aggregates that lack it, ``held`` is what each table has applied, and
        ``also`` says more in the same transaction.
        """
        watermark = self.load(kept, step)
        folded = [*{*behind, *self.state.windowed}]  # open windows are of the state's version
        folded.sort(key=lambda name: -self.folds[name].rows)  # the longest first
        store = kept.store
        with store.writing():
            left = self.state.absorb(store, self._pool, watermark)
            done = together(self._pool, lambda name: self.folds[name].delta(), folded)
            deltas = {name: delta.result() for name, delta in zip(folded, done, strict=True)}
            left |= self.state.close(store, deltas, kept.watermark, watermark)
            ahead = {name for name in self.state.tables if held[name] >= step.version}
            ahead |= {*folded} - {*behind}
            kept.journal.add(applied.version, {n: r for n, r in left.items() if n not in ahead})
            kept.say(applied, self._flow.product)
            also(step)
        store.hold()
        return left
