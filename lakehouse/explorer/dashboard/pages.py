"""The routes of the dashboard: its files, and JSON that is rebuilt only where a table changed."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.serving import Answer, Request, Route
from lakehouse.core.text import as_json
from lakehouse.explorer.analyses import Analysis
from lakehouse.explorer.business import figures, series
from lakehouse.explorer.catalogue import is_plain
from lakehouse.explorer.dashboard.answers import lines, picture, rows_of, tiles
from lakehouse.explorer.dashboard.beside import Beside
from lakehouse.explorer.dashboard.lake import told
from lakehouse.explorer.dashboard.question import (
    all_of,
    analysis,
    figure_ids,
    listed,
    point_ids,
    question,
    rows_ids,
)
from lakehouse.explorer.observed import Observer, Seen
from lakehouse.explorer.origin import Origin, figured, origin, tables_of
from lakehouse.explorer.session import Session
from lakehouse.explorer.sql import Answer as Rows
from lakehouse.explorer.sql import Reader, mentioned
from lakehouse.explorer.trace import events, origin_asked
from lakehouse.products.registry import part, product

_EVENTS, _MOST = 50, 1_000
"""So many events behind a row, and so many rows of a question, are read."""
_TURN, _LONGEST = 4, 0.15
"""So many questions are asked again for one update of a product's page, for so many seconds ..."""
_FIRST = 0.4
"""... and those that were never asked for so many: the page is there, and fills."""
_REST = 10
"""So many times what an answer took it holds, whatever tables do meanwhile."""
_KINDS = {"css": "text/css", "js": "text/javascript", "html": "text/html", "svg": "image/svg+xml"}
_SHOWN = ("/", "/pipeline", "/tables", "/product/", "/analysis/", "/table/", "/trace")
"""Paths of pages: one file, which asks for the rest."""


@dataclass(frozen=True)
class _Held:
    state: object
    rows: Rows
    at: float


@dataclass(frozen=True)
class _Made:
    state: object
    answer: Answer
    rests_until: float


class Pages:
    """What a viewer may ask; one question to the lake at a time, whoever asks."""

    def __init__(self, observer: Observer, session: Session, beside: Beside) -> None:
        self._observer, self._session, self._beside = observer, session, beside
        self._lock = threading.Lock()
        self._made: dict[str, _Made] = {}
        self._rows: dict[str, _Held] = {}
        self._tried = set[str]()
        self._mentioned: tuple[tuple[str, ...], dict[tuple[str, ...], list[str]]] = ((), {})
        """Statements → tables that they name, of the tables that there are."""

    def routes(self) -> dict[str, Route]:
        """Path → what answers."""
        shell = _static("index.html")
        return {
            **dict.fromkeys(_SHOWN, lambda _: shell),
            "/static/": lambda request: _static(request.path.removeprefix("/static/")),
            "/api/lake": self._lake,
            "/api/product/": self._product,
            "/api/analysis/": self._analysis,
            "/api/table/": self._table,
            "/api/trace": self._trace,
        }

    def _lake(self, _request: Request) -> Answer:
        seen = self._observer.look()

        def made() -> Answer:
            return _tagged(told(seen, self._observer.lake.root, self._beside.told()))

        return self._once("lake", seen.at, made)

    def _product(self, request: Request) -> Answer:
        name, seen = _last(request), self._observer.look()
        found, mine = product(name), [a for a in listed(seen) if a.product == name]
        sqls = [*figures(found).values(), *(s.sql for s in series(found).values())]
        sqls += [a.sql for a in mine]

        def made() -> Answer:
            self._ask_in_turns(seen, sqls)
            over_time = {
                key: {**lines(answer.rows, one, point_ids(answer.rows, one)), **self._of(one.sql)}
                for key, one in series(found).items()
                if (answer := self._held(one.sql))
            }
            tiled = [
                {**tile, **self._of(sql)}
                for title, sql in figures(found).items()
                if (answer := self._held(sql))
                for tile in tiles(title, answer.rows, figure_ids(answer.rows))
            ]
            asked = [self._told(a, self._held(a.sql), short=True) for a in mine]
            is_part = any(map(self._is_open, sqls))
            return _tagged({"name": name, "figures": tiled, "series": over_time,
                            "analyses": asked, "part": is_part})  # fmt: skip

        due = sum(not self._is_new(seen, sql) for sql in sqls)
        state = (self._state(seen, sqls), due)
        return self._once(request.path, state, made, lambda: any(map(self._is_open, sqls)))

    def _ask_in_turns(self, seen: Seen, sqls: Iterable[str]) -> None:
        """Ask those whose tables changed, the oldest first, as many as one turn has time for.

        Tables are opened once for all.
        """
        due = [sql for sql in sqls if not self._is_new(seen, sql)]
        due.sort(key=lambda sql: (sql in self._tried, self._when(sql)))
        known = [sql for sql in due if sql in self._rows]
        due = [sql for sql in due if sql not in self._rows] + known[:_TURN]
        if not due:
            return
        session, began = self._session, time.monotonic()
        with Reader(session.catalogue, session.settings, due, session.views) as reader:
            opened = time.monotonic()  # which takes longer than most questions of a large lake
            for place, sql in enumerate(due):
                since, most = (began, _LONGEST) if sql in self._rows else (opened, _FIRST)
                if place and time.monotonic() - since > most:
                    return
                self._tried.add(sql)
                with suppress(LakehouseError):  # its table is missing or damaged: seen elsewhere
                    self._rows[sql] = _Held(
                        self._state(seen, [sql]), reader.ask(sql, _MOST), time.monotonic()
                    )

    def _when(self, sql: str) -> float:
        return self._rows[sql].at if sql in self._rows else 0.0

    def _is_open(self, sql: str) -> bool:
        """Whether a question was never asked."""
        return sql not in self._tried

    def _held(self, sql: str) -> Rows | None:
        """The rows that a question had when it was last asked; None where it has no answer yet."""
        return self._rows[sql].rows if sql in self._rows else None

    def _analysis(self, request: Request) -> Answer:
        seen = self._observer.look()
        one = analysis(_last(request), seen)

        def made() -> Answer:
            return _tagged(self._told(one, self._rows_of(seen, one.sql), short=False))

        return self._once(request.path, self._state(seen, [one.sql]), made)

    def _table(self, request: Request) -> Answer:
        name, seen = _last(request), self._observer.look()
        info = seen.tables.get(name)
        if info is None:
            why = seen.faults.get(name, "is not there")
            raise UsageError(f"table {name}", why, "look at the list of tables")

        def made() -> Answer:
            sql = all_of(name)
            history = [] if is_plain(name) else self._observer.catalogue.history(name, 25)
            rows = self._session.ask(sql, 50).rows
            return _tagged(
                {"info": asdict(info), "sql": sql, **rows_of(rows), "history": history,
                 "ids": rows_ids(rows, name)}
            )  # fmt: skip

        return self._once(request.path, (info.version, info.committed), made)

    def _trace(self, request: Request) -> Answer:
        """The events behind a number, by what tells its row from others."""
        seen, wanted = self._observer.look(), request.query.get("row", "")
        asked = question(request.query, seen)
        rows = (self._held(asked.sql) or self._rows_of(seen, asked.sql)).rows
        ids = [*asked.ids(rows)]
        if wanted not in ids:
            raise UsageError("this row", "is not there any more", "go back, and choose it again")
        one = rows.slice(ids.index(wanted), 1)
        [row] = one.to_pylist()
        if asked.table:
            found = origin(asked.table, row)
        elif asked.is_figure:
            found = figured(asked.sql, row, self._session.views)
        else:
            found = origin_asked(self._session, asked.sql, row)
        tables = tables_of(asked.sql, self._session.views)
        return _tagged({"title": asked.title, "row": rows_of(one), **self._events(found, tables)})

    def _events(self, found: Origin | None, tables: list[str]) -> dict[str, Any]:
        if found is None:
            said = "This row is of many records: they are in"
            return {"told": said, "tables": tables, "events": None}
        answer = events(self._session, found, _EVENTS)
        return {
            "told": found.told(), "tables": [found.bronze], "sql": found.sql.strip(),
            "events": rows_of(answer.rows), "more": answer.more,
        }  # fmt: skip

    def _told(self, one: Analysis, answer: Rows | None, *, short: bool) -> dict[str, Any]:
        about = {
            "name": one.name, "title": one.title, "product": one.product, **self._of(one.sql),
        }  # fmt: skip
        if answer is None:
            fault = "one of its tables is not there yet, or cannot be read"
            return {**about, "fault": "reading…" if self._is_open(one.sql) else fault}
        rows = answer.rows
        guess = not getattr(part(product(one.product), "report"), "CHARTS", None)
        drawn = picture(rows, one.chart, guess=guess)
        shown = rows_of(rows.slice(0, 12) if short else rows)
        ids = rows_ids(rows, chart=one.chart)
        return {**about, **shown, "of": rows.num_rows, "picture": drawn, "ids": ids}

    def _of(self, sql: str) -> dict[str, Any]:
        """What a number leads to: its SELECT, and the tables of that."""
        return {"sql": sql.strip(), "tables": tables_of(sql, self._session.views)}

    def _rows_of(self, seen: Seen, sql: str) -> Rows:
        """The rows of a question as of now."""
        if not self._is_new(seen, sql):
            answer = self._session.ask(sql, _MOST)
            self._rows[sql] = _Held(self._state(seen, [sql]), answer, time.monotonic())
        return self._rows[sql].rows

    def _is_new(self, seen: Seen, sql: str) -> bool:
        return sql in self._rows and self._rows[sql].state == self._state(seen, [sql])

    def _state(self, seen: Seen, statements: Iterable[str]) -> object:
        """What changes with the tables that statements name, and with nothing else."""
        tables, key = (*seen.tables,), (*statements,)
        if (held := self._mentioned)[0] != tables:
            held = self._mentioned = (tables, {})
        if key not in held[1]:
            held[1][key] = mentioned(self._observer.catalogue, key, self._session.views)
        return seen.state(held[1][key])

    def _once(
        self, key: str, state: object, make: Callable[[], Answer],
        is_part: Callable[[], bool] = lambda: False,
    ) -> Answer:  # fmt: skip
        """An answer that is rebuilt where its state is another; one viewer makes it for all.

        It rests for some times what it took, so that a large lake costs no more than a small one;
        not one that ``is_part`` says was not whole yet.
        """
        with self._lock:
            held = self._made.get(key)
            if held is None or (held.state != state and time.monotonic() > held.rests_until):
                began = time.monotonic()
                answer = make()
                now = time.monotonic()
                rest = 0 if is_part() else _REST * (now - began)
                self._made[key] = held = _Made(state, answer, now + rest)
            return held.answer


def _last(request: Request) -> str:
    return request.path.rsplit("/", 1)[1]


def _tagged(value: object) -> Answer:
    body = as_json(value).encode()
    return Answer(body, tag=hashlib.sha256(body).hexdigest()[:32])


def _static(name: str) -> Answer:
    """A file of ours, by a name in its folder; nothing else is opened."""
    folder = files(__package__) / "static"
    known = {entry.name: entry for entry in folder.iterdir()}
    if name not in known:
        return Answer(b"there is no such file\n", "text/plain; charset=utf-8", 404)
    body = known[name].read_bytes()
    kind = f"{_KINDS[name.rpartition('.')[2]]}; charset=utf-8"
    return Answer(body, kind, tag=hashlib.sha256(body).hexdigest()[:32])
