"""A flow's state in the store: what its aggregates need besides new rows, at one bronze version.

It holds distinct keys, top values and latest changes. If the store is lost, it is rebuilt from
the tables of the same content; so these may lag behind the aggregates, but never be ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import structlog

from lakehouse.core.errors import TableDamaged
from lakehouse.model.flow import SilverFlow
from lakehouse.model.window import EXACT, TIMEOUTS
from lakehouse.silver.distinct import DistinctState
from lakehouse.silver.journal import Journal
from lakehouse.silver.lane import together
from lakehouse.silver.latest import KeyedState, signed_schema
from lakehouse.silver.published import (
    Appended,
    Published,
    keyed_table,
    session_table,
    units_table,
)
from lakehouse.silver.render import delta_schema
from lakehouse.silver.sessions import SessionState
from lakehouse.silver.store import Store
from lakehouse.silver.tables import SilverTables
from lakehouse.silver.terms import Terms
from lakehouse.silver.top import TopState
from lakehouse.silver.windows import OpenWindows
from lakehouse.storage.increments import Increment
from lakehouse.storage.prepared import Source
from lakehouse.storage.table import Table

Steps = Callable[[int, int], Iterator[Increment]]
Load = Callable[[Increment], "int | None"]
log = structlog.get_logger("lakehouse")


class SilverState:
    """The state of one flow: it absorbs ``rows``; aggregates fold ``folded``."""

    def __init__(
        self,
        flow: SilverFlow,
        opened: SilverTables,
        connection: duckdb.DuckDBPyConnection,
        rows: Source,
        aggregates: Mapping[str, Table],
        terms: Terms,
    ) -> None:
        self._name = flow.name
        self.folded = Source(signed_schema(flow.keyed)) if flow.keyed else rows
        self._keyed: KeyedState | None = None
        self._kinds: dict[str, DistinctState | TopState] = {}
        self.tables: dict[str, Published] = {}
        """By name, in the order of publishing."""

        for finer in flow.finers:
            distinct = DistinctState(finer, connection, self.folded)
            self._kinds[finer.name] = distinct
            self.tables[finer.name] = Appended(opened.finer(finer.name, distinct.schema))
        for aggregate in flow.aggregates:
            for name, favourite in (aggregate.favourite or {}).items():
                top = TopState(aggregate, name, favourite, connection, self.folded)
                self._kinds[favourite.finer] = top
                table = opened.finer(favourite.finer, top.schema)
                self.tables[favourite.finer] = units_table(table, connection.cursor())
        if keyed := flow.keyed:
            self._keyed = KeyedState(keyed, connection, rows)
            current, history = opened.keyed(keyed)
            for name, table in ((keyed.history, history), (keyed.current, current)):
                self.tables[name] = keyed_table(keyed, name, table, connection.cursor())
        self._sessions = {
            s.name: SessionState(s, terms[TIMEOUTS][s.name], connection, rows)
            for s in flow.sessions
        }
        for session in flow.sessions:
            table = opened.sessions(session)
            self.tables[session.name] = session_table(session, table, connection.cursor())
        self.whole = {s.name: (flow.table(s.name), (s.key, "session_start")) for s in flow.sessions}
        """Tables for which a batch leaves whole rows: their name in the lake, and their key."""
        self._aggregates = aggregates
        asked = terms.get(EXACT, {})
        self._open = {
            a.name: OpenWindows(a, delta_schema(a), connection, rows, asked.get(a.name, ()))
            for a in flow.aggregates
            if a.window
        }
        self.windowed = [*self._open]
        """Aggregates by window."""
        self.finer = [*self._kinds]
        """Tables of distinct keys and of units."""
        self.latest = [name for name in self.tables if name not in self._kinds]
        """Tables of latest changes, which are read as aggregates are."""
        self.gained = {
            n: Source(s) for kind in self._kinds.values() for n, s in kind.gained.items()
        }
        """What the last increment added, under the names that the aggregates read."""

    @property
    def spaces(self) -> list[str]:
        """The spaces of the store that it needs."""
        spaces = [] if self._keyed is None else [self._keyed.space]
        for kind in self._kinds.values():
            own = [kind.space] if isinstance(kind, DistinctState) else [
                kind.units_space, kind.best_space
            ]  # fmt: skip
            spaces += own
        spaces += [space for kind in self._open.values() for space in kind.spaces]
        for session in self._sessions.values():
            spaces += [session.space, session.due_space]
        return spaces

    def absorb(
        self, store: Store, pool: ThreadPoolExecutor, watermark: int | None
    ) -> dict[str, pa.Table]:
        """Apply the current rows, within a transaction; gives what they leave for each table.

        No event that comes later, and is not late, is before the watermark.
        """
        left = {name: kind.absorb(store, watermark) for name, kind in self._sessions.items()}
        if self._keyed is not None:
            signed, of_keys = self._keyed.absorb(store)
            left |= of_keys
            self.folded.put(signed)
        found = together(pool, lambda kind: kind.find(), self._kinds.values())
        for (name, kind), rows in zip(self._kinds.items(), found, strict=True):
            gained, left[name] = kind.absorb(rows.result(), store)
            for source, added in gained.items():
                self.gained[source].put(added)
        return left

    def close(
        self,
        store: Store,
        deltas: Mapping[str, pa.Table],
        watermark: int | None,
        passed: int | None,
    ) -> dict[str, pa.Table]:
        """What aggregates gained, with what the watermark makes final of their windows.

        No event that comes later, and is not late, is before ``passed``.
        """
        return {
            name: self._open[name].close(store, delta, watermark, passed)
            if name in self._open
            else delta
            for name, delta in deltas.items()
        }

    def load(self, store: Store, bronze: str, held: Mapping[str, int]) -> None:
        """Fill an empty store from the tables at the versions ``held``, logging progress.

        What is in no table is read from bronze as of then.
        """
        for name, windows in self._open.items():
            self._told(name, windows.load(self._aggregates[name], bronze, held[name], store))
        for name, sessions in self._sessions.items():
            self._told(name, sessions.load(self.tables[name].table, bronze, held[name], store))
        for name, kind in self._kinds.items():
            table = self.tables[name].table
            if files := table.files():
                self._told(name, kind.load(files, store))
        if self._keyed is not None:
            keyed = self._keyed.keyed
            names = (keyed.history, keyed.current)
            files_of = {name: self.tables[name].table.files() for name in names}
            if files_of[keyed.history]:
                self._told(keyed.history, self._keyed.load(files_of, store))

    def align(
        self,
        store: Store,
        journal: Journal,
        held: Mapping[str, int],
        version: int,
        steps: Steps,
        load: Load,
    ) -> None:
        """Bring to one version what :meth:`load` read from tables at the versions ``held``.

        ``steps`` yields the increments; ``load`` puts one's rows where the queries read them,
        and gives the watermark after it.
        """
        if any(held[name] > version for name in self.tables):
            raise TableDamaged("a finer table", "is ahead of what counts it", "it is folded again")
        at = min((held[name] for name in self.tables), default=version)
        for stop in sorted({*(held[name] for name in self.tables), version}):
            for step in steps(at, stop):  # once for all: the watermark does not go back
                watermark = load(step)
                behind = {name for name in self.tables if held[name] < step.version}
                with store.writing():
                    journal.add(step.version, self._caught_up(store, watermark, behind))
            at = stop

    def _caught_up(
        self, store: Store, watermark: int | None, behind: set[str]
    ) -> dict[str, pa.Table]:
        """What the current rows leave for the tables that are behind."""
        left: dict[str, pa.Table] = {}
        if self._keyed is not None and behind & {*self.latest} - self._sessions.keys():
            left |= self._keyed.absorb(store)[1]
        for name in behind & self._sessions.keys():
            left[name] = self._sessions[name].absorb(store, watermark)
        for name in behind & self._kinds.keys():
            left[name] = self._kinds[name].absorb(self._kinds[name].find(), store)[1]
        return left

    def _told(self, name: str, parts: Iterator[int]) -> None:
        done = 0
        for rows in parts:
            done += rows
            log.info("rebuilding the state", flow=self._name, table=name, rows=done)
