"""Rows of their own over the lake: a profile, commits, changes, the events of a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from lakehouse.explorer.app.results import Results
from lakehouse.explorer.app.screens import Over
from lakehouse.explorer.sql import Answer

HELD = "FROM held"
"""All rows of :class:`Held`."""
_MEMORY = "500MB"


class Held:
    """Rows that are read once, and then asked as the table ``held``."""

    def __init__(self, load: Callable[[], Answer]) -> None:
        self._load = load
        self.read: Answer | None = None

    def ask(self, statement: str, limit: int | None = None, *, is_counted: bool = True) -> Answer:  # noqa: ARG002  # as a session is asked
        """One read of them."""
        from lakehouse.storage.duck import Limits, opened  # noqa: PLC0415  # it loads DuckDB

        self.read = self.read or self._load()
        if statement == HELD:
            return self.read
        with opened(Limits(_MEMORY)) as connection:
            connection.register("held", self.read.rows)
            return Answer(connection.sql(statement).to_arrow_table(), 0)

    def cancel(self) -> None:
        """They are few: nothing runs for long."""


class OwnRows(Results):
    """Rows that are sorted, filtered, described and exported like a table's."""

    first = HELD
    """What is asked to begin with."""

    def on_mount(self) -> None:
        """Read them."""
        self.grid.focus()
        self.ask(self.first)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nobody knows their origin."""
        return action != "origin" and super().check_action(action, parameters)

    def action_origin(self) -> None:
        """Enter shows the value."""
        self.action_inspect()

    def told(self, found: Answer) -> str:
        """How many there are, and how many more."""
        count = f"{found.rows.num_rows:,} row{'s' if found.rows.num_rows != 1 else ''}"
        return f"{count}, and {found.more:,} more" if found.more else count


class HeldRows(OwnRows):
    """Rows that were read, of which there may be more."""

    def __init__(self, load: Callable[[], Answer]) -> None:
        self.held = Held(load)
        super().__init__(lambda: self.held)

    def told(self, found: Answer) -> str:
        """Of those that were read, where that is not all."""
        told, read = super().told(found), self.held.read
        is_part = read is not None and read.more and found is not read
        return f"{told} of the first {read.rows.num_rows:,}" if read and is_part else told


class RowsOver(Over):
    """Rows of their own, over the lake."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "back", "Back")]

    def __init__(self, title: str, results: OwnRows) -> None:
        super().__init__(title)
        self.results = results

    def body(self) -> ComposeResult:
        """The rows."""
        yield self.results

    def action_back(self) -> None:
        """Show what a filter hides; or end what is asked, and leave."""
        if not self.results.leave_filter():
            self.results.end()
            self.dismiss(None)
