"""What opens over the lake: a value whole, rows of their own, a record, a question, the help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static

from lakehouse.explorer.app.asked import Refused, asked, explorer, shown
from lakehouse.explorer.app.cells import exact, fields
from lakehouse.explorer.fetched import fetched
from lakehouse.explorer.record import Commit, address, commit_of, hexdump, raw
from lakehouse.explorer.sql import Answer

HELP = """\
On every screen
  F1 or ?         this help            Ctrl+P   every command, by name
  Esc             back; end a question Ctrl+Q   leave
  Tab, Shift+Tab  the next part        F2 F3 F4 analyses, table, SQL
  F9              the tree, or not     [ ]      other analyses
  Space           in the tree: a table's columns and types
  t               another version or time, for all tables
  w               what changed between two versions of the table
  v               versions of the table: its commits
  r               read the lake again; it is looked at every 2 seconds

Rows
  arrows, PgUp, PgDn, Home, End, g, G  move
  Enter or d      drill down: events of a number; a record; its commit
  s               sort by the column: down, up, as it was
  /               only rows that have a text (Esc: all rows)
  p               profile: nulls, different values, range, shape
  i, I            the whole value; the row, field by field
  c, C            copy the value; all rows as CSV
  e               export to CSV, JSON or Parquet

SQL
  F5 or Ctrl+R    run                  Esc      end what runs
  Ctrl+N          names that may come next; Tab or Enter takes one
  F7, F8          what was run before, and after
  Ctrl+L          empty the editor         Ctrl+Z   undo

Numbers are exact and whole. A question reads one version of each
table, and nothing but this lake; no statement writes. What a table
holds is shown, never obeyed.
"""


class Over(ModalScreen[None]):
    """A screen over the lake that Esc closes."""

    DEFAULT_CSS = """
    Over { background: $background; }
    Over > .title { height: auto; max-height: 3; text-style: bold; padding: 0 1; }
    Over > .body { height: 1fr; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Back"),
        Binding("f1,question_mark", "app.help", "Help", show=False),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self.heading = title

    def compose(self) -> ComposeResult:
        """A title, what there is, and the keys."""
        yield Static(shown(self.heading), classes="title", markup=False)
        yield from self.body()
        yield Footer(compact=True, show_command_palette=False)

    def body(self) -> ComposeResult:
        """What the screen is for."""
        raise NotImplementedError


class TextOver(Over):
    """A text, whole and wrapped."""

    def __init__(self, title: str, text: str) -> None:
        super().__init__(title)
        self.text = text

    BINDINGS: ClassVar[list[BindingType]] = [Binding("c", "copy", "Copy")]

    def body(self) -> ComposeResult:
        """The text."""
        with VerticalScroll(classes="body"):
            yield Static(shown(self.text), markup=False)

    def action_copy(self) -> None:
        """Copy it."""
        self.app.copy_to_clipboard(self.text)
        self.notify("copied", timeout=2)


class RecordOver(Over):
    """One record: its address, its commit, its columns, and its bytes where the table has them."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("c", "copy", "Copy address")]

    def __init__(self, table: str, row: Mapping[str, Any]) -> None:
        super().__init__(f"{table}  {exact(address(row))}")
        self.table, self.row = table, row

    def body(self) -> ComposeResult:
        """Its commit, its columns, its bytes."""
        with VerticalScroll(classes="body"):
            yield Static("its commit: reading…", id="commit", markup=False)
            yield Static(shown(self.text()), markup=False)
            yield Static("" if raw(self.row) else "\nits bytes: asking Kafka…", id="bytes",
                         markup=False)  # fmt: skip

    def text(self) -> str:
        """The columns, a line each, then the bytes."""
        return "\n".join(["", *fields(self.row), *dumped(raw(self.row), "as Kafka had them")])

    def on_mount(self) -> None:
        """Look for the commit, and for bytes that no table keeps."""
        self.query_one(VerticalScroll).focus()
        self._look()
        if not raw(self.row):
            self._fetch()

    @work(thread=True, group="over")
    def _fetch(self) -> None:
        found = fetched(explorer(self).session.kafka(), self.row)
        lines = dumped(found.raw, found.told) or ["", found.told]
        self.app.call_from_thread(self._say, "#bytes", "\n".join(lines))

    @work(thread=True, group="over")
    def _look(self) -> None:
        try:
            with asked():
                session = explorer(self).session
                found = commit_of(session.catalogue, self.table, self.row.get("batch_id"))
                text = told(found)
        except Refused as error:
            text = str(error)
        self.app.call_from_thread(self._say, "#commit", text)

    def _say(self, where: str, text: str) -> None:
        if self.is_mounted:
            self.query_one(where, Static).update(shown(text))

    def action_copy(self) -> None:
        """Copy the address."""
        self.app.copy_to_clipboard(exact(address(self.row)))
        self.notify("copied its address", timeout=2)


class Ask(ModalScreen[str | None]):
    """One line from the person; None where Esc closed it."""

    DEFAULT_CSS = """
    Ask { align: center middle; }
    Ask > Vertical { width: 70; max-width: 95%; height: auto; border: round $primary;
        background: $surface; padding: 0 1; }
    Ask Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back"),
        Binding("f1", "app.help", "Help", show=False),
    ]

    def __init__(self, question: str, help_: str, value: str = "") -> None:
        super().__init__()
        self.question, self.help_text, self.given = question, help_, value

    def compose(self) -> ComposeResult:
        """The question, the field, and what may be written."""
        with Vertical():
            yield Static(shown(self.question), markup=False)
            yield Input(self.given, select_on_focus=False)
            yield Static(shown(self.help_text), markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the answer."""
        event.stop()
        self.dismiss(event.value.strip())


def dumped(data: Mapping[str, bytes], said: str) -> list[str]:
    """Bytes as lines, each part below its name."""
    parts = ([f"{exact(n)}: {len(d):,} bytes {said}", *hexdump(d)] for n, d in data.items())
    return [line for part in parts for line in ("", *part)]


def told(commit: Commit | None) -> str:
    """A commit in a line."""
    if commit is None:
        return "commit: the table's log no longer has it"
    ends = f", ends {commit.ends}" if commit.ends else ""
    return f"commit: version {commit.version} of {commit.table}, {commit.time}{ends}"


def as_answer(rows: list[dict[str, Any]]) -> Answer:
    """Rows of ours as an answer."""
    return Answer(pa.Table.from_pylist(rows), 0)
