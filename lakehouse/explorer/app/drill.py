"""From the row under the cursor to what lies behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Static

from lakehouse.core.text import printable
from lakehouse.explorer.app.asked import explorer, shown
from lakehouse.explorer.app.over import OwnRows, RowsOver
from lakehouse.explorer.app.screens import RecordOver
from lakehouse.explorer.origin import Origin, origin, origin_of, tables_of
from lakehouse.explorer.trace import arriving, origin_asked

if TYPE_CHECKING:
    from lakehouse.explorer.app.actions import Actions
    from lakehouse.explorer.sql import Answer

_FETCHED = 1_000
"""Events that are shown of a row; the rest are counted."""
_FIRST = 100
"""So many are shown while the others are read, where these lie in files of fewer dates."""


class Events(OwnRows):
    """The events of a number, which are sorted and filtered all, and of which some are shown."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("d", "origin", "Its record")]

    def __init__(self, found: Origin, whole: Callable[[], Origin]) -> None:
        """``whole`` gives the same by all keys, which may take a question to the lake."""
        super().__init__(lambda: explorer(self).session)
        self.origin, self.first, self._whole = found, found.sql, whole

    def answers(self, statement: str) -> Iterator[Answer]:
        """The newest, of which the first are there sooner; of what was asked else, the first."""
        session = explorer(self).session
        if statement != self.statement:
            yield session.ask(statement, _FETCHED)
            return
        self.origin = self._whole()
        self.statement = self.origin.sql
        self.app.call_from_thread(self._entitle)
        yield from arriving(session, self.origin, _FETCHED, _FIRST)

    def _entitle(self) -> None:
        if self.is_mounted:
            title = shown(f"events of {self.origin.told()}")
            self.screen.query_one(".title", Static).update(title)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Of an event the origin is its record."""
        return action == "origin" or super().check_action(action, parameters)

    def action_origin(self) -> None:
        """Show the event under the cursor as a record."""
        if row := self.grid.row:
            self.app.push_screen(RecordOver(self.origin.bronze, row))


class EventsOver(RowsOver):
    """The events of a number; one of them opens as a record."""

    def __init__(self, found: Origin, whole: Callable[[], Origin]) -> None:
        super().__init__(f"events of {found.told()}", Events(found, whole))


def open_origin(app: Actions, statement: str, table: str, row: Mapping[str, Any]) -> None:
    """The events of a row; of a row of bronze or quarantine, its record."""
    session = app.session
    if table.partition(".")[0] in {"bronze", "quarantine"} and "offset" in row:
        app.push_screen(RecordOver(table, row))
        return
    found = origin(table, row) if table else origin_of(statement, row, session.views)
    if found is None:
        app.notify(_untold(statement, session.views), markup=False, severity="warning")
        return

    def whole() -> Origin:
        return found if table else origin_asked(session, statement, row) or found

    app.push_screen(EventsOver(found, whole))


def _untold(statement: str, views: Mapping[str, str]) -> str:
    """Why nobody knows the events of a row, and what to ask instead."""
    records = [t for t in tables_of(statement, views) if t.startswith(("bronze.", "quarantine."))]
    if records:
        return (
            f"this row was put together from rows of {printable(records[0])}, and does not say "
            f"which: ask for them, as in FROM {printable(records[0])} WHERE …"
        )
    return (
        "this row names no key of a table of silver, so its events cannot be told: ask for the "
        "key columns too"
    )
