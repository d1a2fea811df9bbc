"""From the row under the cursor to what lies behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakehouse.explorer.app.screens import EventsOver, RecordOver
from lakehouse.explorer.origin import origin, origin_of
from lakehouse.explorer.trace import events

if TYPE_CHECKING:
    from lakehouse.explorer.app.actions import Actions

_FETCHED = 1_000
"""Events that are shown of a row; the rest are counted."""


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
    title = f"events of {found.told()}"
    app.push_screen(EventsOver(title, lambda: events(session, found, _FETCHED), found.bronze))
