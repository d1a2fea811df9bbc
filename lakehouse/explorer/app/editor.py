"""The SQL editor: keywords stand out, names are offered, what was run before comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.geometry import Offset
from textual.message import Message
from textual.widgets import OptionList, TextArea

from lakehouse.explorer.app.history import History
from lakehouse.explorer.app.results import Results
from lakehouse.explorer.complete import WORDS, Vocabulary, complete, written
from lakehouse.explorer.session import Session

_OFFERED = 8
_LEAST = 2
"""Letters after which names are offered unasked."""


class Editor(TextArea):
    """A statement, with an error's place marked until it is changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5,ctrl+r,ctrl+enter", "run", "Run", key_display="F5"),
        Binding("ctrl+at,ctrl+n", "offer", "Complete", key_display="^n", priority=True),
        Binding("ctrl+l", "empty", "Clear", key_display="^l"),
        Binding("f7,alt+up", "past(-1)", "Older", key_display="F7"),
        Binding("f8,alt+down", "past(1)", "Newer", key_display="F8", show=False),
    ]

    class Run(Message):
        """The statement is to be run."""

    class Offer(Message):
        """Names are asked for; ``is_asked`` by a key."""

        def __init__(self, is_asked: bool) -> None:
            super().__init__()
            self.is_asked = is_asked

    def __init__(self, history: History, **how: Any) -> None:
        super().__init__(
            soft_wrap=True, tab_behavior="focus", show_line_numbers=True, compact=True, **how
        )
        self.past = history
        self._place: int | None = None
        """Of the statement that came back; None: what is written is new."""
        self.wrong_at: tuple[int, int] | None = None

    def get_line(self, line_index: int) -> Text:
        """A line with its keywords, and the place of an error."""
        line = super().get_line(line_index)
        for found in WORDS.finditer(line.plain):
            line.stylize(Style(bold=True), *found.span())
        if self.wrong_at and self.wrong_at[0] == line_index + 1:
            start = min(self.wrong_at[1], len(line.plain)) - 1
            line.stylize(Style(reverse=True, color="red"), max(0, start), max(0, start) + 1)
        return line

    async def _on_key(self, event: Key) -> None:
        """While names are offered, arrows choose, Tab and Enter take, Esc goes on without."""
        pane = self.parent
        if isinstance(pane, SqlPane) and pane.take_key(event.key):
            event.prevent_default()
            event.stop()
            return
        await super()._on_key(event)

    def mark(self, at: tuple[int, int] | None) -> None:
        """Mark a line and column, from 1, and go there."""
        self.wrong_at = at
        if at:
            self.move_cursor((at[0] - 1, at[1] - 1))
        self.refresh()

    def action_run(self) -> None:
        """Run it."""
        if self.text.strip():
            self.past.add(self.text)
            self._place = None
            self.post_message(self.Run())

    def action_past(self, step: int) -> None:
        """An older or a newer statement that was run."""
        statements = [*self.past.statements, ""]
        place = len(statements) - 1 if self._place is None else self._place
        self._place = max(0, min(place + step, len(statements) - 1))
        self.load_text(statements[self._place])
        self.move_cursor(self.document.end)

    def action_empty(self) -> None:
        """Clear the text; undo brings it back."""
        self._place = None
        self.clear()

    def action_offer(self) -> None:
        """Offer names."""
        self.post_message(self.Offer(is_asked=True))


class Offers(OptionList, can_focus=False):
    """Names to take, below the cursor."""

    DEFAULT_CSS = """
    Offers { layer: above; display: none; width: auto; min-width: 20; max-width: 50; height: auto;
        max-height: 8; position: absolute; border: none; padding: 0; background: $panel; }
    Offers.shown { display: block; }
    """


class SqlPane(Vertical):
    """Editor above, rows below."""

    DEFAULT_CSS = """
    SqlPane { layers: below above; }
    SqlPane > Editor { height: 40%; min-height: 4; border: none; }
    """

    def __init__(
        self, session: Callable[[], Session], history: History, words: Callable[[], Vocabulary]
    ) -> None:
        super().__init__()
        self._session, self._history, self._words = session, history, words

    def compose(self) -> ComposeResult:
        """Editor, rows, and the names that are offered."""
        yield Editor(self._history)
        yield Results(self._session)
        yield Offers(markup=False, compact=True)

    @property
    def editor(self) -> Editor:
        """The editor."""
        return self.query_one(Editor)

    @property
    def offers(self) -> Offers:
        """The names that are offered."""
        return self.query_one(Offers)

    def on_editor_run(self) -> None:
        """Ask the lake."""
        self.offers.remove_class("shown")
        self.editor.mark(None)
        self.query_one(Results).ask(self.editor.text)

    def again(self) -> None:
        """Ask once more what was asked, if anything was."""
        results = self.query_one(Results)
        if results.statement:
            results.ask(results.statement, stay=True)

    def on_results_wrong(self, event: Results.Wrong) -> None:
        """Mark the error's place."""
        if event.at and event.results.statement == self.editor.text:
            self.editor.mark(event.at)

    def on_editor_offer(self, event: Editor.Offer) -> None:
        """Offer what may come next."""
        self._offer(is_asked=event.is_asked)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """A change ends an error's mark; while a word is written, names are offered."""
        event.stop()
        self.editor.wrong_at = None
        self._offer(is_asked=False)

    def _offer(self, *, is_asked: bool) -> None:
        editor = self.editor
        row, column = editor.cursor_location
        before = editor.get_text_range((0, 0), (row, column))
        part = written(before, len(before))
        found: list[str] = []
        if editor.has_focus and (is_asked or len(part) >= _LEAST):
            found = complete(editor.text, before, self._words())
        offers = self.offers
        offers.clear_options()
        offers.set_class(bool(found), "shown")
        if not found:
            return
        offers.add_options([Text(name) for name in found])
        offers.highlighted = 0
        cursor = editor.cursor_screen_offset - self.region.offset
        width = min(50, max(20, max(map(len, found)) + 3))
        x = max(0, min(cursor.x - len(part), self.size.width - width))
        offers.styles.offset = Offset(x, cursor.y + 1)

    def take(self) -> None:
        """Put the chosen name in place of what is written of it."""
        offers, editor = self.offers, self.editor
        if offers.highlighted is None:
            return
        name = str(offers.get_option_at_index(offers.highlighted).prompt)
        row, column = editor.cursor_location
        part = written(editor.document.get_line(row), column)
        editor.replace(name, (row, column - len(part)), (row, column))
        offers.remove_class("shown")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A name is clicked."""
        event.stop()
        self.offers.highlighted = event.option_index
        self.take()
        self.editor.focus()

    def take_key(self, key: str) -> bool:
        """Do what a key does while names are offered; False where it is the editor's."""
        if not self.offers.has_class("shown"):
            return False
        if key == "up":
            self.offers.action_cursor_up()
        elif key == "down":
            self.offers.action_cursor_down()
        elif key in {"tab", "enter"}:
            self.take()
        else:
            return key == "escape" and self.leave_offers()
        return True

    def leave_offers(self) -> bool:
        """Hide the names; False where none are offered."""
        is_shown = self.offers.has_class("shown")
        self.offers.remove_class("shown")
        return is_shown
