"""From the row under the cursor to what lies behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Static

from lakehouse.explorer.app.asked import explorer, shown
from lakehouse.explorer.app.grid import Grid
from lakehouse.explorer.app.screens import RecordOver, RowsOver
from lakehouse.explorer.origin import Origin, origin, origin_of
from lakehouse.explorer.trace import arriving, origin_asked

if TYPE_CHECKING:
    from lakehouse.explorer.app.actions import Actions
    from lakehouse.explorer.sql import Answer

_FETCHED = 1_000
"""Events that are shown of a row; the rest are counted."""
_FIRST = 100
"""So many are shown while the others are read, where these lie in files of fewer dates."""


class EventsOver(RowsOver):
    """The events of a number; one of them opens as a record."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "open", "Its record"),
        Binding("e", "export", "Export"),
    ]

    def __init__(self, found: Origin, whole: Callable[[], Origin]) -> None:
        """``whole`` gives the same by all keys, which may take a question to the lake."""
        super().__init__(f"events of {found.told()}", self._events)
        self.origin, self._whole = found, whole

    def _events(self) -> Iterator[Answer]:
        self.origin = self._whole()
        heading = shown(f"events of {self.origin.told()}")
        self.app.call_from_thread(self.query_one(".title", Static).update, heading)
        yield from arriving(explorer(self).session, self.origin, _FETCHED, _FIRST)

    def action_open(self) -> None:
        """Show the event under the cursor as a record."""
        if row := self.query_one(Grid).row:
            self.app.push_screen(RecordOver(self.origin.bronze, row))

    def action_export(self) -> None:
        """Write all of the events to a file, not only those that are shown."""
        explorer(self).export(self.origin.sql)


def open_origin(app: Actions, statement: str, table: str, row: Mapping[str, Any]) -> None:
    """The events of a row; of a row of bronze or quarantine, its record."""
    session = app.session
    if table.partition(".")[0] in {"bronze", "quarantine"} and "offset" in row:
        app.push_screen(RecordOver(table, row))
        return
    found = origin(table, row) if table else origin_of(statement, row, session.views)
    if found is None:
        app.notify(
            "this row names no key of a table of silver, so its events cannot be told: ask for "
            "the key columns too",
            markup=False, severity="warning",
        )  # fmt: skip
        return

    def whole() -> Origin:
        return found if table else origin_asked(session, statement, row) or found

    app.push_screen(EventsOver(found, whole))
