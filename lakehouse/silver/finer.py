"""Finer tables: the state that distinct counts and favourites need, written back now and then.

What a finer table holds at a bronze version is known at any time as: the table
at the version that it records, and the bronze rows since. So it is kept in
memory, absorbed batch by batch, and written when enough has come; a restart
loads the table and absorbs bronze's rows from there on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb
import pyarrow as pa

from lakehouse.ingest.seen import Seen, words, words_sql
from lakehouse.model.flow import UNITS, Aggregate, Favourite, Finer
from lakehouse.silver.render import finer_sql, hash_key, units_sql
from lakehouse.storage.duck import Prepared, Source, query, reads
from lakehouse.storage.table import Table

TORN = -2
"""The version of a state that has taken in a part of one: of none."""


def text_schema(keys: Iterable[str]) -> pa.Schema:
    """The Arrow schema of a finer table's keys: text, and truncated time."""
    time = pa.timestamp("us", "UTC")
    return pa.schema(
        [pa.field(n, time if n == "event_time" else pa.string(), nullable=False) for n in keys]
    )


def gained_by(aggregate: Aggregate) -> dict[str, pa.Schema]:
    """What a batch gains that an aggregate's query reads: the names that ``absorb`` gives."""
    gained: dict[str, pa.Schema] = {}
    for distinct in (aggregate.distinct or {}).values():
        keys = text_schema(distinct.finer.keys)
        gained |= {f"{side}_{distinct.finer.name}": keys for side in ("new", "prior")}
    for name in aggregate.favourite or {}:
        columns = [*aggregate.keys, f"new_{name}"]
        schema = pa.schema([pa.field(column, pa.string()) for column in columns])
        gained[f"choice_{aggregate.name}_{name}"] = schema
    return gained


class FinerState:
    """The distinct keys of one finer table; 48 bytes of memory a key.

    ``connection`` is its own, and reads ``rows``.
    """

    def __init__(self, finer: Finer, table: Table, connection: duckdb.DuckDBPyConnection) -> None:
        self.finer, self.table, self._connection = finer, table, connection
        self.pending: list[pa.Table] = []
        self.held = -1
        """The bronze version of the state; TORN while one is taken in, and where that failed."""
        self._new = Source(text_schema(finer.keys))
        self._repeated = Source(text_schema([finer.entity]))
        connection.register("pending", self._new)
        connection.register("entities", self._repeated)
        self._found = Prepared(connection, self._hashed(finer_sql(finer)))
        self._prior: tuple[list[str], Prepared] | None = None
        self._known, self._entities = Seen(), Seen()
        if files := table.files():
            held = self._hashed(f"FROM {reads(files)}")
            self._remember(query(connection, held))

    @property
    def pending_rows(self) -> int:
        """Rows that the table does not hold yet."""
        return sum(part.num_rows for part in self.pending)

    def absorb(self) -> dict[str, pa.Table]:
        """Take in ``rows``; gives the tables ``new_<name>`` and ``prior_<name>``.

        ``new`` are the keys not known before; ``prior`` the keys held already of
        the same entities.
        """
        name, found = self.finer.name, self._found()
        fresh = ~self._known.near(words(found, "key"))
        found = found.filter(pa.array(fresh))
        new = found.select(list(self.finer.keys))
        repeated = self._entities.near(words(found, "entity"))
        self._remember(found)
        prior = self._prior_of(new.filter(pa.array(repeated)))
        if new.num_rows:
            self.pending.append(new)
        return {f"new_{name}": new, f"prior_{name}": prior}

    def _prior_of(self, repeated: pa.Table) -> pa.Table:
        """What is held of the entities of these rows; the table is read where there are any."""
        if not repeated.num_rows:
            return self.table.schema.empty_table()
        files = self.table.files()
        if self._prior is None or self._prior[0] != files:
            if self._prior is not None:
                self._prior[1].close()
            held = f"FROM {reads(files)} UNION ALL BY NAME " if files else ""
            sql = f"FROM ({held}FROM pending) SEMI JOIN entities USING ({self.finer.entity})"
            self._prior = files, Prepared(self._connection, sql)
        if self.pending:
            self._new.put(pa.concat_tables(self.pending))
        self._repeated.put(repeated)
        prior = self._prior[1]()
        self._new.clear()
        self._repeated.clear()
        return prior

    def _hashed(self, rows: str) -> str:
        """A query's rows, and the hashes of their keys and entities."""
        key = words_sql(hash_key(list(self.finer.keys)), "key")
        entity = words_sql(hash_key([self.finer.entity]), "entity")
        return f"SELECT *, {key}, {entity} FROM ({rows})"

    def _remember(self, hashed: pa.Table) -> None:
        self._known.add(words(hashed, "key"))
        self._entities.add(words(hashed, "entity"))

    def persist(self, note: dict[str, Any]) -> None:
        """Write what is pending in one commit that records the version held."""
        rows = pa.concat_tables(self.pending) if self.pending else self.table.schema.empty_table()
        self.table.append(rows.cast(self.table.schema), note)
        self.pending = []


def _whole(units: pa.ChunkedArray) -> list[int]:
    """Numbers of units; by way of 64 bits, which is ten times as fast, where all fit."""
    try:
        return list(units.cast(pa.int64()).to_pylist())
    except pa.ArrowInvalid:
        return [int(number) for number in units.to_pylist()]


class FavouriteState:
    """Units by (an aggregate's keys, what is chosen among), and the choice of each key.

    ``connection`` is its own, and reads ``rows``.
    """

    def __init__(
        self,
        aggregate: Aggregate,
        name: str,
        favourite: Favourite,
        table: Table,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self.aggregate, self.name, self.favourite = aggregate, name, favourite
        self.table, self._connection = table, connection
        self.pending: list[pa.Table] = []
        self.held = -1
        """The bronze version of the state; TORN while one is taken in, and where that failed."""
        self._found = Prepared(connection, self._hashed(units_sql(aggregate, favourite)))
        self._units: dict[int, int] = {}
        self._best: dict[tuple[str, ...], tuple[int, str]] = {}
        if files := table.files():
            self._add(query(connection, self._hashed(f"FROM {reads(files)}")))

    @property
    def pending_rows(self) -> int:
        """Rows that the table does not hold yet."""
        return sum(part.num_rows for part in self.pending)

    def absorb(self) -> dict[str, pa.Table]:
        """Take in ``rows``; gives ``choice_<aggregate>_<name>``: key, new_<name>."""
        hashed = self._found()
        touched = self._add(hashed)
        if hashed.num_rows:
            self.pending.append(hashed.select(self.table.schema.names))
        columns = list(zip(*touched, strict=True)) or [()] * len(self.aggregate.keys)
        names = [*self.aggregate.keys, f"new_{self.name}"]
        chosen = [self._best[key][1] for key in touched]
        choice = pa.table([pa.array(c, pa.string()) for c in [*columns, chosen]], names=names)
        return {f"choice_{self.aggregate.name}_{self.name}": choice}

    def _hashed(self, rows: str) -> str:
        """A query's rows, and the hashes of what their units are counted by."""
        pair = words_sql(hash_key([*self.aggregate.keys, self.favourite.of]), "pair")
        return f"SELECT *, {pair} FROM ({rows})"

    def _add(self, hashed: pa.Table) -> set[tuple[str, ...]]:
        columns = ["pair_high", "pair_low", *self.aggregate.keys, self.favourite.of]
        touched = set()
        for units, high, low, *key, item in zip(
            _whole(hashed["units"]), *(hashed[c].to_pylist() for c in columns), strict=True
        ):
            pair = (high << 64) | low
            total = self._units[pair] = self._units.get(pair, 0) + units
            place = tuple(key)
            best = self._best.get(place)
            if best is None or total > best[0] or (total == best[0] and item < best[1]):
                self._best[place] = (total, item)
                touched.add(place)
            elif item == best[1]:
                self._best[place] = (total, item)
        return touched

    def persist(self, note: dict[str, Any]) -> None:
        """Write the units anew with what is pending added, in one commit."""
        columns = ", ".join([*self.aggregate.keys, self.favourite.of])
        sources = []
        if self.pending:
            self._connection.register("pending", pa.concat_tables(self.pending))
            sources.append("SELECT * FROM pending")
        if files := self.table.files():
            sources.append(f"SELECT * FROM {reads(files)}")
        if sources:
            rows = query(
                self._connection,
                f"SELECT {columns}, CAST(sum(units) AS {UNITS}) AS units "
                f"FROM ({' UNION ALL BY NAME '.join(sources)}) GROUP BY ALL ORDER BY ALL",
            )
        else:
            rows = self.table.schema.empty_table()
        self.table.replace(rows.cast(self.table.schema), None, note)
        self.pending = []
