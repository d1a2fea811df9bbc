"""What the keys and the command palette do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work
from textual.app import App, SystemCommand
from textual.widgets import Input, TabbedContent, TextArea

from lakehouse.core.errors import LakehouseError
from lakehouse.core.text import printable, whole_number
from lakehouse.explorer.app.analyses_pane import AnalysesPane
from lakehouse.explorer.app.asked import Refused, asked
from lakehouse.explorer.app.editor import SqlPane
from lakehouse.explorer.app.lake import Seen
from lakehouse.explorer.app.results import Asked, Results
from lakehouse.explorer.app.tree import LakeTree
from lakehouse.explorer.export import export, target
from lakehouse.explorer.format import Format
from lakehouse.explorer.report import LookUp, look_ups
from lakehouse.explorer.session import Session
from lakehouse.explorer.show import render
from lakehouse.explorer.times import time_of

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.explorer.sql import Answer

_CHANGES, _COMMITS = 10_000, 1_000
_COPIED = 10_000
"""Most rows that are copied at once; a file takes all."""


class Actions(App[None]):
    """What the explorer can do, beside showing itself."""

    session: Session
    seen: Seen
    table: str
    """The table that is picked; empty before."""

    def look(self, *, is_asked: bool = False) -> object:
        """Read what is new of the lake; all of it where it ``is_asked``."""
        raise NotImplementedError

    def pick_table(self, table: str) -> None:
        """Show a table's rows."""
        raise NotImplementedError

    def commands(self) -> Iterator[SystemCommand]:
        """Every command by name, as plain text."""
        yield SystemCommand("help", "Every key", self.action_help)
        yield SystemCommand("as of", "Read another version or time", self.action_as_of)
        yield SystemCommand("read again", "Look at every table again", self.action_refresh_lake)
        yield SystemCommand("tree", "Show or hide the tree of tables", self.action_tree)
        yield SystemCommand("columns", "Of the table that the tree points at", self.action_columns)
        if table := self.table:
            yield SystemCommand("changes", f"In {table}, row by row", self.action_changes)
            yield SystemCommand("versions", f"Commits of {table}", self.action_versions)
        for word, found in look_ups().items():
            yield SystemCommand(f"look up {word}", found.doc, partial(self.look_up, word, found))
        for analysis in self.query_one(AnalysesPane).analyses:
            name = f"{analysis.product}: {analysis.title}"
            yield SystemCommand(name, "Analysis", partial(self.pick_analysis, analysis.name))
        for table in self.seen.versions:
            yield SystemCommand(table, "Table", partial(self.pick_table, table))

    def action_help(self) -> None:
        """Every key."""
        from lakehouse.explorer.app.screens import HELP  # noqa: PLC0415  # a later screen

        self.show_text("help", HELP)

    def action_tab(self, name: str) -> None:
        """Open a tab, and go to what it is for: what is typed next, however fast, goes there."""
        self.query_one("#tabs", TabbedContent).active = name
        if name == "sql":
            self.screen.set_focus(self.query_one(SqlPane).editor)
        elif name == "table" and not self.table and (table := self.query_one(LakeTree).pointed):
            self.pick_table(table)
        elif name == "table":
            self.screen.set_focus(self.query_one("#rows", Results).grid)
        else:
            self.screen.set_focus(self.query_one(AnalysesPane).query_one("OptionList"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """No tab opens below a screen that lies over them: their keys go before all others."""
        return (action != "tab" or len(self.screen_stack) == 1) and super().check_action(
            action, parameters
        )

    def action_tree(self) -> None:
        """Show or hide the tree; what is typed goes on to where it went."""
        left, tree = self.query_one("#left"), self.query_one(LakeTree)
        left.toggle_class("hidden")
        if left.has_class("hidden"):
            if tree.has_focus:
                self.action_tab(self.query_one("#tabs", TabbedContent).active)
        elif not isinstance(self.focused, Input | TextArea):
            tree.focus()

    def action_columns(self) -> None:
        """Show or hide the columns of the table that the tree points at."""
        self.query_one(LakeTree).action_toggle_node()

    def action_step(self, by: int) -> None:
        """The next analysis, or the one before."""
        self.query_one("#tabs", TabbedContent).active = "analyses"
        self.query_one(AnalysesPane).step(by)

    def action_leave(self) -> None:
        """End the question that runs; or show what a filter hides."""
        self.session.cancel()
        node = self.focused
        while node is not None and not isinstance(node, Results):
            node = node.parent  # type: ignore[assignment]  # up to the app, which has none
        if isinstance(node, Results):
            node.leave_filter()

    def action_refresh_lake(self) -> None:
        """Look at every table again."""
        self.look(is_asked=True)

    def action_as_of(self) -> None:
        """Read another version or time."""
        self.ask(
            "read tables as of", "a version (3), a time (2026-11-20T12:00:00Z), or nothing: now",
            self.go_back,
        )  # fmt: skip

    def go_back(self, moment: str) -> None:
        """Read a version, a time, or with neither the newest."""
        version = whole_number(moment)
        try:
            then = time_of("as of", moment) if moment and version is None else None
        except LakehouseError as error:
            self.complain(error)
            return
        self.session.cancel()
        for results in self.query(Results):
            results.forget()
        self._go_back(version, then)

    @work(thread=True, exclusive=True, group="moment")
    def _go_back(self, version: int | None, then: datetime | None) -> None:
        self.session.back_to(version, then)  # which waits for what still runs
        self.call_from_thread(self.look, is_asked=True)

    async def action_quit(self) -> None:
        """End what runs, and leave."""
        self.session.cancel()
        await super().action_quit()

    def action_versions(self) -> None:
        """The commits of the table that is picked."""
        if table := self.chosen_table():
            catalogue = self.session.catalogue

            def load() -> Answer:
                from lakehouse.explorer.app.screens import as_answer  # noqa: PLC0415  # later

                return as_answer(catalogue.history(table, _COMMITS))

            self.show_rows(f"commits of {printable(table)}", load)

    def action_changes(self) -> None:
        """What changed between two versions of the table that is picked."""
        table = self.chosen_table()
        if not table:
            return
        newest = self.seen.versions[table]
        self.ask(
            f"changes of {printable(table)} between versions", "two versions, as in 3 5",
            partial(self.compare, table), f"{max(0, newest - 1)} {newest}",
        )  # fmt: skip

    def compare(self, table: str, given: str) -> None:
        """Show what changed between two versions, given as two numbers."""
        numbers = [whole_number(word) for word in given.replace("..", " ").split()]
        if len(numbers) != 2 or None in numbers:
            self.notify(f"{given!r} is not two versions: write 3 5", markup=False)
            return
        before, after = (number or 0 for number in numbers)
        session = self.session

        def load() -> Answer:
            from lakehouse.explorer.diff import diff  # noqa: PLC0415  # it loads DuckDB

            return diff(session.catalogue, session.settings, table, before, after, _CHANGES)

        self.show_rows(f"{printable(table)}: from version {before} to {after}", load)

    def chosen_table(self) -> str:
        """The table under the tree's cursor, or the one that is shown; says so where none is."""
        table = self.query_one(LakeTree).pointed or self.table
        if not table or table not in self.seen.versions:
            self.notify("choose a table first", severity="warning")
            return ""
        return table

    def look_up(self, word: str, found: LookUp) -> None:
        """Ask for a thing that a product can look up, and show it."""

        def shown(wanted: str) -> None:
            pane = self.query_one(SqlPane)
            pane.editor.load_text(found.asked(wanted).strip())
            self.action_tab("sql")
            pane.editor.action_run()

        self.ask(f"{word}", found.doc, shown)

    def pick_analysis(self, name: str) -> None:
        """Show an analysis by its name."""
        self.action_tab("analyses")
        self.query_one(AnalysesPane).pick(name)

    def ask(self, question: str, help_: str, then: Callable[[str], None], value: str = "") -> None:
        """Ask for a line, and do something with it."""
        from lakehouse.explorer.app.screens import Ask  # noqa: PLC0415  # a later screen

        self.push_screen(
            Ask(question, help_, value), lambda given: None if given is None else then(given)
        )

    def copy_rows(self, rows: pa.Table) -> None:
        """Copy rows as CSV, of which no text is a formula."""
        part = rows.slice(0, _COPIED)
        self.copy_to_clipboard(render({"rows": part}, Format.csv))
        self.notify(f"copied {part.num_rows:,} of {rows.num_rows:,} rows", timeout=3)

    def export(self, statement: str, answers: Asked) -> None:
        """Ask for a file, and write all of a statement's rows."""
        self.ask(
            "export to", "a file that ends in .csv, .json or .parquet; nothing is overwritten",
            partial(self.export_to, statement, answers), "rows.csv",
        )  # fmt: skip

    def export_to(self, statement: str, answers: Asked, name: str) -> None:
        """Write all of a statement's rows to a file."""
        try:
            path = target(name)
        except LakehouseError as error:
            self.complain(error)
            return
        self.notify(f"writing {path}…", markup=False, timeout=2)
        self._export(statement, answers, path)

    @work(thread=True, group="export")
    def _export(self, statement: str, answers: Asked, path: Path) -> None:
        try:
            with asked():
                count = export(answers.ask(statement).rows, path)
        except Refused as error:
            self.call_from_thread(self.notify, str(error), severity="error", markup=False)
        else:
            self.call_from_thread(self.notify, f"{count:,} rows in {path}", markup=False)

    def show_rows(self, title: str, load: Callable[[], Any]) -> None:
        """Rows of their own, over the lake."""
        from lakehouse.explorer.app.over import HeldRows, RowsOver  # noqa: PLC0415  # a later screen

        self.push_screen(RowsOver(title, HeldRows(load)))

    def show_text(self, title: str, text: str) -> None:
        """A text whole, over the lake."""
        from lakehouse.explorer.app.screens import TextOver  # noqa: PLC0415  # a later screen

        self.push_screen(TextOver(printable(title), text))

    def show_origin(self, statement: str, table: str, row: Mapping[str, Any]) -> None:
        """The events of a row, over the lake; of a record itself, its record."""
        from lakehouse.explorer.app.drill import open_origin  # noqa: PLC0415  # a later screen

        open_origin(self, statement, table, row)

    def complain(self, error: LakehouseError) -> None:
        """A mistake, in a line."""
        self.notify(str(error), severity="error", markup=False)
