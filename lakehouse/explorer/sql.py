"""Read-only SQL over the lake: one statement per call, with a time limit and a row limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TypeVar

import duckdb
import pyarrow as pa

from lakehouse.core.errors import Exit, LakehouseError, TableMissing
from lakehouse.core.sql import identifier
from lakehouse.explorer.allowed import BY_NAME, SqlRejected, candidates, check, is_explain, line
from lakehouse.explorer.catalogue import Catalogue, is_plain, named_in
from lakehouse.explorer.listing import listing
from lakehouse.explorer.locked import Expired, locked, within
from lakehouse.explorer.spilled import is_full, spill_full, spill_room
from lakehouse.settings.sections import ExplorerSettings
from lakehouse.storage.faults import ENGINES

T = TypeVar("T")
_LISTS = re.compile(r"\b(show|information_schema)\b|\bdescribe\W*($|\))|^\W*desc\W*$", re.I)
"""What lists all tables: DESCRIBE of nothing does, too."""

_MEND = "mend the statement; SHOW TABLES lists names, DESCRIBE a table's columns"


class QueryTimedOut(LakehouseError):
    """The query took longer than [explorer] timeout."""

    exit_code = Exit.TIMEOUT


@dataclass(frozen=True)
class Answer:
    """A statement's first rows, and how many more there are; where nobody counts them, one."""

    rows: pa.Table
    more: int


class Reader:
    """A connection to one snapshot of the tables that ``statements`` name.

    ``views`` are name → SELECT that statements may use as tables. The connection may
    open the Parquet files of these tables and nothing else: no other file, no
    network, no settings. ``settings`` limit its questions. A context manager.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        settings: ExplorerSettings,
        statements: Iterable[str],
        views: Mapping[str, str] | None = None,
    ) -> None:
        self._catalogue, self.settings = catalogue, settings
        self._views = dict(views or {})
        self._absent: dict[str, LakehouseError] = {}
        tables, plain = {}, {}
        for name in mentioned(catalogue, statements, self._views):
            if is_plain(name):
                plain[name] = catalogue.plain_files(name)
                continue
            try:
                tables[name] = catalogue.open(name)
            except LakehouseError as error:
                self._absent[name] = error
        ends = {
            name.partition(".")[2]: catalogue.ends(name, int(table.version()))
            for name, table in tables.items()
            if name.startswith("bronze.")
        }
        with ExitStack() as stack:
            room = stack.enter_context(spill_room(settings.memory_limit))
            self._connection = in_time(
                settings, lambda: locked(tables, plain, self._views, ends, settings, room)
            )
            self._room, self._held = room, stack.pop_all()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        with self._held, suppress(duckdb.Error):  # a query that ignored its interrupt still uses it
            self._connection.close()

    def ask(self, statement: str, limit: int | None = None, *, is_counted: bool = True) -> Answer:
        """Run one read: its first ``limit`` rows (None: all); the rest are at most counted."""

        def answer() -> Answer:
            check(statement, self._views, self._catalogue.names)
            listed = listing(statement, self._catalogue.names(), self._connection)
            return self._fetch(listed, limit, is_counted=is_counted)

        try:
            return in_time(self.settings, answer, self.interrupt)
        except (*ENGINES, OSError) as error:
            raise self._explained(statement, error) from None

    def interrupt(self) -> None:
        """End the query that runs, if one does."""
        self._connection.interrupt()

    def _fetch(self, statement: str, limit: int | None, *, is_counted: bool) -> Answer:
        reader = self._connection.sql(statement).to_arrow_reader(20_000)
        kept: list[pa.RecordBatch] = []
        room, more = limit, 0
        for batch in reader:
            part = batch if room is None else batch.slice(0, room)
            if part.num_rows:
                kept.append(part)
            more += batch.num_rows - part.num_rows
            room = None if room is None else room - part.num_rows
            if more and not is_counted:
                more = 1
                reader.close()
                break
        rows = pa.Table.from_batches(kept, reader.schema)
        if is_explain(statement):
            plans = [self._without_root(str(text)) for text in rows["explain_value"].to_pylist()]
            rows = rows.set_column(1, "explain_value", pa.array(plans, pa.string()))
        return Answer(rows, more)

    def _without_root(self, text: str) -> str:
        """The text with our folders removed, even where one is drawn over two lines."""
        for folder in filter(None, [self._catalogue.lake.join(""), self._room.folder]):
            text = re.sub(r"(?:\s*│\n│\s*)?".join(map(re.escape, folder)), "…", text)
        return text

    def _explained(self, statement: str, error: Exception) -> LakehouseError:
        """The error of the missing or damaged table that caused it, or else DuckDB's message."""
        if isinstance(error, duckdb.CatalogException | duckdb.BinderException):
            used = [t for v, t in self._views.items() if re.search(rf"\b{v}\b", statement, re.I)]
            absent = {name.lower(): error for name, error in self._absent.items()}
            known = {name.lower() for name in self._catalogue.names()}
            for name in named_in(" ".join([statement, *used])):
                if name.lower() in absent:
                    return absent[name.lower()]
                if isinstance(error, duckdb.CatalogException) and name.lower() not in known:
                    return _missing(self._catalogue, name)
            if isinstance(error, duckdb.CatalogException) and used:
                return _missing(self._catalogue, _first(used, self._catalogue))
        if is_full(error):
            return spill_full()
        meant = candidates(error, [*self._catalogue.names(), *self._views])
        remedy = f"Did you mean {meant}?" if meant else _MEND
        if isinstance(error, duckdb.PermissionException):
            return SqlRejected("SQL", "reaches outside the lake's tables", BY_NAME)
        if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
            remedy = "narrow it, or raise [explorer] memory_limit"
        told = SqlRejected("SQL", self._without_root(line(error)), remedy)
        return told.placed(statement, self._pointed(statement, error))

    def _pointed(self, statement: str, error: Exception) -> Exception:
        """The same error with its place: a relation's has none, an execution's has."""
        if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
            try:
                self._connection.execute(statement)  # which fails as it did, before it reads
            except duckdb.Error as pointed:
                return pointed
        return error


def mentioned(
    catalogue: Catalogue, statements: Iterable[str], views: Mapping[str, str]
) -> list[str]:
    """The tables that statements name, themselves or by a view: opening fewer is quicker."""
    names, text = catalogue.names(), " ".join(statements)
    if _LISTS.search(text):
        return names
    words, left = _words(text), dict(views)
    while used := [view for view in left if view.lower() in words]:  # a view may use another
        more = " ".join(left.pop(view) for view in used)
        words, text = words | _words(more), f"{text} {more}"
    if "quarantine" in words:
        words |= {"bronze", "erased"}  # they decide which of its rows count as replayed
    text = text.lower()

    def is_named(name: str) -> bool:
        layer, _, table = name.lower().partition(".")
        return layer in words and (table in words or identifier(table) in text)

    return [*filter(is_named, names)]


def _words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[\w-]+", text)}


def in_time(
    settings: ExplorerSettings, work: Callable[[], T], interrupt: Callable[[], None] = lambda: None
) -> T:
    """What ``work`` gives; QueryTimedOut where it takes longer than the settings let a query."""
    try:
        return within(settings.timeout, work, interrupt)
    except Expired:
        raise QueryTimedOut(
            "SQL",
            f"ran longer than {settings.timeout.total_seconds():g} s",
            "narrow it, or raise [explorer] timeout",
        ) from None


def read(
    catalogue: Catalogue,
    statement: str,
    settings: ExplorerSettings,
    views: Iterable[tuple[str, str]] = (),
) -> pa.Table:
    """The rows of one SELECT over tables that are named as in silver.shop_by_country.

    ``views`` are (name, SELECT) pairs that the statement may use too.
    """
    with Reader(catalogue, settings, [statement], dict(views)) as reader:
        return reader.ask(statement).rows


def _missing(catalogue: Catalogue, name: str) -> LakehouseError:
    try:
        catalogue.open(name)
    except LakehouseError as error:
        return error
    return TableMissing(f"table {name}", "appeared while it was asked for", "ask again")


def _first(texts: list[str], catalogue: Catalogue) -> str:
    found = named_in(" ".join(texts))
    return next((n for n in found if n not in catalogue.names()), found[0])
