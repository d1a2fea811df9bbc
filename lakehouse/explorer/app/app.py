"""The explorer's screen: the tree on the left; analyses, a table and SQL on the right."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.markup import escape
from textual.screen import Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane

from lakehouse.core.errors import LakehouseError
from lakehouse.core.sql import identifier
from lakehouse.core.text import paragraph, printable
from lakehouse.explorer.analyses import analyses
from lakehouse.explorer.app.actions import Actions
from lakehouse.explorer.app.analyses_pane import AnalysesPane
from lakehouse.explorer.app.asked import Refused, asked, shown
from lakehouse.explorer.app.editor import SqlPane
from lakehouse.explorer.app.history import History
from lakehouse.explorer.app.lake import Seen, look
from lakehouse.explorer.app.results import Results
from lakehouse.explorer.app.tree import LakeTree, details
from lakehouse.explorer.catalogue import MAKE_ONE
from lakehouse.explorer.complete import Vocabulary
from lakehouse.explorer.session import Session

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings

_EVERY = 2.0
"""Seconds from one look at the tables' versions to the next."""
_AGES = 20.0
"""Seconds from one telling of a table's age to the next."""
_NARROW = 100
"""Columns below which the tree takes less."""


class Explorer(Actions):
    """The terminal explorer; it only reads."""

    TITLE = "lakehouse"
    ENABLE_COMMAND_PALETTE = True
    CSS = """
    #top { height: 1; background: $panel; padding: 0 1; }
    #left { width: 38; border-right: solid $panel; }
    #left.narrow { width: 28; }
    #left.hidden { display: none; }
    #details { height: auto; max-height: 8; border-top: solid $panel; color: $text-muted; }
    TabbedContent { width: 1fr; height: 1fr; }
    TabPane { padding: 0; }
    OptionList:nocolor > .option-list--option-highlighted { text-style: bold underline; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", key_display="F1"),
        Binding("f2", "tab('analyses')", "Analyses", show=False, priority=True),
        Binding("f3", "tab('table')", "Table", show=False, priority=True),
        Binding("f4", "tab('sql')", "SQL", show=False, priority=True),
        Binding("f9", "tree", "Tree", show=False),
        Binding("left_square_bracket", "step(-1)", "Before", show=False),
        Binding("right_square_bracket", "step(1)", "Next", show=False),
        Binding("t", "as_of", "As of"),
        Binding("w", "changes", "Changes", show=False),
        Binding("v", "versions", "Versions", show=False),
        Binding("r", "refresh_lake", "Read again", show=False),
        Binding("escape", "leave", "Back", show=False),
        Binding("ctrl+c", "leave", "End", show=False),
        Binding("ctrl+q", "quit", "Leave", priority=True),
    ]

    def __init__(self, session: Session, settings: Settings) -> None:
        is_plain = "NO_COLOR" in os.environ
        super().__init__(ansi_color=is_plain or None)
        if is_plain:
            self.theme = "ansi-dark"  # the terminal's own colours, which are then left out too
        self.session, self.settings = session, settings
        self.seen = Seen()
        self.table = ""
        self._views: dict[str, tuple[str, ...]] = {}
        self._history = History()
        session.tell = self._tell

    def compose(self) -> ComposeResult:
        """The whole screen."""
        yield Static("", id="top", markup=False)
        with Horizontal():
            with Vertical(id="left"):
                yield LakeTree()
                yield Static("", id="details", markup=False)
            with TabbedContent(id="tabs"):
                with TabPane("F2 Analyses", id="analyses"):
                    yield AnalysesPane(lambda: self.session)
                with TabPane("F3 Table", id="table"):
                    yield Results(lambda: self.session, id="rows")
                with TabPane("F4 SQL", id="sql"):
                    yield SqlPane(lambda: self.session, self._history, self._words)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Look at the lake, now and from then on."""
        self._say_where()
        self.query_one(LakeTree).focus()
        names = self.session.catalogue.names()
        self.query_one(LakeTree).list(names, {}, {})
        self.call_after_refresh(self._begin, names)  # engines load slowly: the tree is there first

    def _begin(self, names: list[str]) -> None:
        self.query_one(AnalysesPane).list(analyses(names))
        self.look(is_asked=True)
        self.set_interval(_EVERY, self.look)
        self.set_interval(_AGES, self._say_table)

    def on_resize(self) -> None:
        """A narrow terminal has a narrow tree."""
        self.query_one("#left").set_class(self.size.width < _NARROW, "narrow")

    @work(thread=True, exclusive=True, group="look")
    def look(self, *, is_asked: bool = False) -> None:
        """Read what is new of the lake's tables: their versions are cheap to ask."""
        try:
            seen = look(self.session, Seen() if is_asked else self.seen)
        except (LakehouseError, OSError) as error:  # the folder itself is at fault
            self.call_from_thread(self._say_where, printable(str(error).replace("\n", " ")))
            return
        if is_asked or seen is not self.seen:
            self.call_from_thread(self._take, seen, is_asked)

    def _take(self, seen: Seen, is_asked: bool) -> None:
        changed = {n for n, v in seen.versions.items() if self.seen.versions.get(n) != v}
        is_first = not self.seen.versions
        self.seen = seen
        self._say_where("" if seen.versions else "no table here yet")
        self.query_one(LakeTree).list([*seen.versions], seen.tables, seen.columns)
        self._say_table()
        pane = self.query_one(AnalysesPane)
        pane.list(analyses(seen.versions))
        if not seen.versions:
            pane.query_one(Results).say(f"no table here yet: {MAKE_ONE}", is_wrong=True)
        if (changed or is_asked) and not is_first:
            if pane.shown:
                pane.show(pane.shown, stay=True)
            if self.table in changed or (is_asked and self.table):
                self._show_table(stay=True)
            if is_asked:
                self.query_one(SqlPane).again()

    def _say_where(self, text: str = "") -> None:
        catalogue = self.session.catalogue
        moment = "now"
        if catalogue.version is not None:
            moment = f"as of version {catalogue.version}"
        elif catalogue.at is not None:
            moment = f"as of {catalogue.at.isoformat()}"
        root = printable(catalogue.lake.root)
        room = max(12, self.size.width - len(moment) - len(text) - 8)
        where = f"{root if len(root) <= room else f'…{root[1 - room :]}'} · {moment}"
        self.query_one("#top", Static).update(shown(f"{where} · {text}" if text else where))

    def _say_table(self) -> None:
        node = self.query_one(LakeTree).cursor_node
        name = (node.data if node else None) or self.table
        text = ""
        if name:
            info, behind = self.seen.tables.get(name), self.seen.behind(name)
            text = details(name, info, behind, datetime.now(UTC))
        self.query_one("#details", Static).update(shown(text))

    def on_tree_node_highlighted(self) -> None:
        """Tell of the table under the cursor."""
        self._say_table()

    def on_lake_tree_picked(self, event: LakeTree.Picked) -> None:
        """Show a table's rows."""
        self.pick_table(event.table)

    def pick_table(self, table: str) -> None:
        """Show a table's rows."""
        self.table = table
        self.query_one(LakeTree).point_at(table)
        self._show_table()
        self.action_tab("table")

    def _show_table(self, *, stay: bool = False) -> None:
        layer, _, name = self.table.partition(".")
        statement = f"FROM {layer}.{identifier(name)}"
        self.query_one("#rows", Results).ask(statement, self.table, stay=stay)

    def on_tabbed_content_tab_activated(self) -> None:
        """Go to what the tab is for."""
        if not isinstance(self.focused, LakeTree):
            self.action_tab(self.query_one("#tabs", TabbedContent).active)

    def _words(self) -> Vocabulary:
        if not self._views:
            self._views = dict.fromkeys(self.session.usable(), ())
            self._describe()
        columns = {name: tuple(kinds) for name, kinds in self.seen.columns.items()}
        return Vocabulary(columns, self._views)

    @work(thread=True, group="words")
    def _describe(self) -> None:
        """The columns of views, once names are asked for: the engine alone knows them."""
        found = dict(self._views)
        for view in found:
            with suppress(Refused), asked():  # a view whose table is missing has none
                told = self.session.ask(f"DESCRIBE {identifier(view)}").rows
                found[view] = tuple(told["column_name"].to_pylist())
        self._views = found

    def _tell(self, text: str) -> None:
        """Narration from a thread, such as of a moment that is folded again."""
        self.call_from_thread(self._say_where, printable(text))

    def notify(self, message: str, **how: Any) -> None:
        """A message in the corner, of plain text."""
        super().notify(paragraph(message), **{**how, "markup": False})

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every command by name: those of the keys, each analysis, each table, each look-up."""
        if screen is self.screen_stack[0]:
            for command in self.commands():  # the palette reads markup, which names may have
                title, about = escape(printable(command.title)), escape(printable(command.help))
                yield command._replace(title=title, help=about)
        yield SystemCommand("theme", "Other colours", self.action_change_theme)
        yield SystemCommand("leave", "End the explorer", self.action_quit)
