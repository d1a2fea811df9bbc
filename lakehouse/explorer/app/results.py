"""A statement's rows on the screen: sorted, filtered, described, copied, exported, traced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static

from lakehouse.explorer.app.asked import Refused, asked, explorer, shown
from lakehouse.explorer.app.cells import bare, exact, fields
from lakehouse.explorer.app.grid import Grid
from lakehouse.explorer.arranged import EXACT, arranged, counting, profile
from lakehouse.explorer.identity import names_of

if TYPE_CHECKING:
    from lakehouse.explorer.sql import Answer

FETCHED = 100_000
"""Rows that are kept of an answer; sorting and filtering mean all of them."""


class Asked(Protocol):
    """What answers statements: a session of the lake, or rows that were read before."""

    def ask(self, statement: str, limit: int | None = None, *, is_counted: bool = True) -> Answer:
        """The first ``limit`` rows of one read."""
        ...

    def cancel(self) -> None:
        """End the question that runs, if one does."""
        ...


class Results(Vertical):
    """One statement's rows, and a line that says how many, how long it took, or what is wrong."""

    DEFAULT_CSS = """
    Results { height: 1fr; }
    Results > .status { height: 1; color: $text-muted; }
    Results > .status.wrong { color: $text-error; text-style: bold; height: auto; max-height: 9; }
    Results > Input { height: 1; border: none; padding: 0; display: none; }
    Results > Input.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "Sort"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("p", "profile", "Profile"),
        Binding("d", "origin", "Drill down"),
        Binding("i", "inspect", "Whole value", show=False),
        Binding("I", "row", "Whole row", show=False),
        Binding("c", "copy(False)", "Copy", show=False),
        Binding("C", "copy(True)", "Copy rows", show=False),
        Binding("e", "export", "Export"),
    ]

    class Shown(Message):
        """New rows are on the screen."""

        def __init__(self, results: Results) -> None:
            super().__init__()
            self.results = results

    class Wrong(Message):
        """The statement has no answer; ``at`` is where it is at fault."""

        def __init__(self, results: Results, text: str, at: tuple[int, int] | None) -> None:
            super().__init__()
            self.results, self.text, self.at = results, text, at

    def __init__(self, session: Callable[[], Asked], **how: Any) -> None:
        super().__init__(**how)
        self._session = session
        self.statement = ""
        self.table = ""
        """The table that the rows are of, where they are of one as it is."""
        self._wanted = ""
        self._sort: tuple[str, bool] = ("", False)
        self._asked = 0
        self._drawn = ""
        """The statement whose rows are on the screen."""

    def compose(self) -> ComposeResult:
        """The status, the filter, the grid."""
        yield Static("", classes="status", markup=False)
        yield Input(placeholder="show rows that have this text; Esc: all rows", compact=True)
        yield Grid()

    @property
    def grid(self) -> Grid:
        """The grid."""
        return self.query_one(Grid)

    def ask(self, statement: str, table: str = "", *, stay: bool = False) -> None:
        """Show another statement's rows; with ``stay`` the same ones again."""
        self.statement, self.table = statement, table
        if not stay:
            self._wanted, self._sort = "", ("", False)
            self.query_one(Input).value = ""
            self.query_one(Input).remove_class("shown")
        self._run(stay=stay)

    def forget(self) -> None:
        """Rows on the screen are of another moment: no answer, where there is none of this one."""
        self._drawn = ""

    def say(self, text: str, *, is_wrong: bool = False) -> None:
        """A line above the rows."""
        status = self.query_one(".status", Static)
        status.set_class(is_wrong, "wrong")
        status.update(shown(text))

    def end(self) -> None:
        """End what is asked."""
        self._asked += 1
        self._session().cancel()

    def _run(self, *, stay: bool = False) -> None:
        self.end()
        name, is_descending = self._sort
        columns = self.grid.rows.schema.names
        statement = arranged(
            self.statement, columns, sort=name, is_descending=is_descending, wanted=self._wanted
        )
        if not stay:
            self.say("reading… (Esc ends it)")
        self._fetch(statement, self._asked, stay)

    @work(thread=True, exclusive=True, group="results", exit_on_error=True)
    def _fetch(self, statement: str, number: int, stay: bool) -> None:
        began = time.perf_counter()
        try:
            with asked():
                for found in self.answers(statement):
                    seconds = time.perf_counter() - began
                    self.app.call_from_thread(self._show, number, found, seconds, stay)
                    stay = True  # the same rows, and more
        except Refused as error:
            self.app.call_from_thread(self._refuse, number, str(error), error.at)

    def answers(self, statement: str) -> Iterator[Answer]:
        """The statement's rows; those before the last have the first of them, sooner."""
        yield self._session().ask(statement, FETCHED, is_counted=False)

    def told(self, found: Answer) -> str:
        """How many rows there are."""
        count = f"{found.rows.num_rows:,} row{'s' if found.rows.num_rows != 1 else ''}"
        return f"the first {count}; sorting and filtering mean all" if found.more else count

    def _show(self, number: int, found: Answer, seconds: float, stay: bool) -> None:
        if number != self._asked or not self.is_mounted:
            return
        self.grid.mark = self._sort
        names = names_of(found.rows, self.table) if stay else ()
        self.grid.show(found.rows, stay=stay, names=names)
        self._drawn = self.statement
        kept = f" with {self._wanted!r} (Esc: all rows)" if self._wanted else ""
        self.say(f"{self.told(found)}{kept} · {seconds * 1000:,.0f} ms")
        self.post_message(self.Shown(self))

    def _refuse(self, number: int, text: str, at: tuple[int, int] | None) -> None:
        if number != self._asked or not self.is_mounted:
            return
        if self._drawn != self.statement:  # rows of another one are no answer to it
            self.grid.show(self.grid.rows.slice(0, 0).select([]))
        self.say(text, is_wrong=text != "cancelled")
        self.post_message(self.Wrong(self, text, at))

    def action_sort(self) -> None:
        """Sort by the column under the cursor: up, down, as it was."""
        self._sort_by(self.grid.column)

    def on_grid_sorted(self, event: Grid.Sorted) -> None:
        """A title was clicked."""
        event.stop()
        self._sort_by(event.grid.columns[event.column].name)

    def _sort_by(self, column: str) -> None:
        name, is_descending = self._sort
        if name != column:
            self._sort = (column, True)
        elif is_descending:
            self._sort = (column, False)
        else:
            self._sort = ("", False)
        if self.statement and column:
            self._run()

    def action_filter(self) -> None:
        """Ask for a text that rows must have."""
        field = self.query_one(Input)
        field.add_class("shown")
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Filter, and go back to the rows."""
        event.stop()
        self._wanted = event.value
        event.input.set_class(bool(event.value), "shown")
        self.grid.focus()
        if self.statement:
            self._run()

    def leave_filter(self) -> bool:
        """Show all rows again; False where none are hidden."""
        field = self.query_one(Input)
        if not field.has_class("shown"):
            return False
        field.value = ""
        field.remove_class("shown")
        self.grid.focus()
        if self._wanted:
            self._wanted = ""
            self._run()
        return True

    def action_profile(self) -> None:
        """Describe each column of all rows."""
        schema = self.grid.rows.schema
        if not self.statement or not schema.names:
            return
        statement = arranged(self.statement, schema.names, wanted=self._wanted)

        def load() -> Answer:
            session = self._session()
            [rows] = session.ask(counting(statement)).rows["rows"].to_pylist()
            return session.ask(profile(statement, schema, is_large=rows > EXACT))

        explorer(self).show_rows("profile", load)

    def action_origin(self) -> None:
        """Go back to the events of the row under the cursor."""
        if row := self.grid.row:
            explorer(self).show_origin(self.statement, self.table, row)

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        """The same, by Enter."""
        event.stop()
        self.action_origin()

    def action_inspect(self) -> None:
        """Show the value under the cursor whole."""
        if self.grid.columns:
            explorer(self).show_text(self.grid.column, exact(self.grid.value))

    def action_row(self) -> None:
        """Show the row under the cursor field by field."""
        if row := self.grid.row:
            explorer(self).show_text("one row", "\n".join(fields(row)))

    def action_copy(self, is_all: bool) -> None:
        """Copy the value under the cursor, or all rows as CSV."""
        if is_all:
            explorer(self).copy_rows(self.grid.rows)
        elif self.grid.columns:
            self.app.copy_to_clipboard(bare(self.grid.value))
            self.notify(f"copied {self.grid.column}", markup=False, timeout=2)

    def action_export(self) -> None:
        """Write all rows of the statement, as they are sorted and filtered, to a file."""
        if self.statement:
            name, is_descending = self._sort
            statement = arranged(
                self.statement, self.grid.rows.schema.names,
                sort=name, is_descending=is_descending, wanted=self._wanted,
            )  # fmt: skip
            explorer(self).export(statement, self._session())
