"""A grid over an Arrow table: only the rows on the screen are ever made into text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from lakehouse.explorer.app.cells import Column, columns_of, cut, fitted, plain, short
from lakehouse.explorer.identity import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

_GAP = "  "
_BLOCK = 64
"""Rows that are made into text at once."""


class Grid(ScrollView, can_focus=True):
    """Rows with a header that stays, a cursor on one cell, and every number whole."""

    DEFAULT_CSS = """
    Grid { height: 1fr; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1, 0)", "Up", show=False),
        Binding("down,j", "move(1, 0)", "Down", show=False),
        Binding("left,h", "move(0, -1)", "Left", show=False),
        Binding("right,l", "move(0, 1)", "Right", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(0, -1)", "First column", show=False),
        Binding("end", "edge(0, 1)", "Last column", show=False),
        Binding("ctrl+home,g", "edge(-1, 0)", "First row", show=False),
        Binding("ctrl+end,G", "edge(1, 0)", "Last row", show=False),
        Binding("enter", "chosen", "Origin", show=False),
    ]
    cursor: reactive[tuple[int, int]] = reactive((0, 0))
    """Row and column."""

    class Chosen(Message):
        """Enter, or a second click, on a row."""

        def __init__(self, grid: Grid) -> None:
            super().__init__()
            self.grid = grid

    class Sorted(Message):
        """A click on a column's title."""

        def __init__(self, grid: Grid, column: int) -> None:
            super().__init__()
            self.grid, self.column = grid, column

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._rows: pa.Table | None = None
        self.count = 0
        """Rows that there are."""
        self.columns: list[Column] = []
        self.mark = ("", False)
        """The column that rows are sorted by, and whether downwards."""
        self._blocks: dict[int, list[list[str]]] = {}

    def on_mount(self) -> None:
        """Keep the cell under the cursor in view where a scroll bar takes room of it."""
        for bar in ("show_vertical_scrollbar", "show_horizontal_scrollbar"):
            self.watch(self, bar, self.watch_cursor, init=False)

    def show(self, rows: pa.Table, *, stay: bool = False, names: Sequence[str] = ()) -> None:
        """Other rows, from the first; the same ones again where they ``stay``.

        The cursor stays in its column as long as the columns are the same, and then on the row
        that has the same ``names``, wherever it is now.
        """
        row, column = self.cursor
        if stay and self.count and (place := place_of(rows, self.row, names)) is not None:
            row, moved = place, place - row
        else:
            moved = 0
        is_alike = rows.schema.names == [column.name for column in self.columns]
        x, y = self.scroll_offset
        self._rows, self.count, self.columns = rows, rows.num_rows, columns_of(rows)
        self._blocks.clear()
        width = sum(column.width + len(_GAP) for column in self.columns)
        self.virtual_size = Size(width, rows.num_rows + 1)
        self.cursor = self._within(row if stay else 0, column if is_alike else 0)
        self.scroll_to(x if is_alike else 0, y + moved if stay else 0, animate=False)
        self.refresh()
        self.call_after_refresh(self.watch_cursor)  # other rows may need other widths

    @property
    def rows(self) -> pa.Table:
        """The rows that are shown; of no column before there are any."""
        if self._rows is None:
            import pyarrow as pa  # noqa: PLC0415  # the first screen comes before the engine

            self._rows = pa.table({})
        return self._rows

    @property
    def row(self) -> dict[str, Any]:
        """The row under the cursor, of doubled names the first; empty where there is none."""
        if not self.count:
            return {}
        one = self.rows.slice(self.cursor[0], 1)
        found: dict[str, Any] = {}
        for name, values in zip(one.schema.names, one.columns, strict=True):
            found.setdefault(name, plain(values)[0])
        return found

    @property
    def value(self) -> Any:
        """The value under the cursor."""
        row, column = self.cursor
        if not self.count:
            return None
        return plain(self.rows.column(column).slice(row, 1))[0]

    @property
    def column(self) -> str:
        """The name of the column under the cursor."""
        return self.columns[self.cursor[1]].name if self.columns else ""

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the header, or a row."""
        x, scrolled = self.scroll_offset
        base = self.rich_style
        if y == 0:
            return Strip(self._header(base)).crop_extend(x, x + self.scrollable_size.width, base)
        row = scrolled + y - 1
        if row >= self.count:
            return Strip.blank(self.scrollable_size.width, base)
        return Strip(self._row(row, base)).crop_extend(x, x + self.scrollable_size.width, base)

    def _header(self, base: Style) -> list[Segment]:
        style = base + Style(bold=True)
        name, is_descending = self.mark
        found, left = [], 0
        for column in self.columns:
            arrow = (" ▼" if is_descending else " ▲") if column.name == name else ""
            text = self._cut(fitted(column.title + arrow, column), left)
            found += [Segment(text, style), Segment(_GAP, base)]
            left += column.width + len(_GAP)
        return found

    def _cut(self, text: str, left: int) -> str:
        """A text that begins at ``left`` as the screen's edges cut it."""
        start = self.scroll_offset.x - left
        return cut(text, start, start + self.scrollable_size.width)

    def _row(self, row: int, base: Style) -> list[Segment]:
        here, at = self.cursor
        line = base + Style(bold=True) if row == here else base
        under = line + Style(reverse=self.has_focus, underline=not self.has_focus)
        x, right = self.scroll_offset.x, self.scroll_offset.x + self.scrollable_size.width
        found, left = [], 0
        for place, (text, column) in enumerate(zip(self._texts(row), self.columns, strict=True)):
            style = under if row == here and place == at else line
            if column.is_number:
                if not x <= left <= right - column.width:  # part of a number is another number
                    text = "…" * column.width  # noqa: PLW2901  # what is drawn in its place
                elif text.lstrip().startswith("-"):
                    style += Style(color="red")
            else:
                text = self._cut(text, left)  # noqa: PLW2901  # likewise
            found += [Segment(text, style), Segment(_GAP, line)]
            left += column.width + len(_GAP)
        return found

    def _texts(self, row: int) -> list[str]:
        number, place = divmod(row, _BLOCK)
        if number not in self._blocks:
            part = self.rows.slice(number * _BLOCK, _BLOCK)
            columns = [
                [fitted(short(value, column), column) for value in plain(values)]
                for values, column in zip(part.columns, self.columns, strict=True)
            ]
            self._blocks[number] = [list(texts) for texts in zip(*columns, strict=True)]
        return self._blocks[number][place]

    def _within(self, row: int, column: int) -> tuple[int, int]:
        rows, columns = self.count, len(self.columns)
        return max(0, min(row, rows - 1)), max(0, min(column, columns - 1))

    def watch_cursor(self) -> None:
        """Keep the cell under the cursor in view."""
        if not self.columns or not self.scrollable_size.height:
            return
        row, at = self.cursor
        x, y = self.scroll_offset
        left = sum(column.width + len(_GAP) for column in self.columns[:at])
        right = left + self.columns[at].width
        width, height = self.scrollable_size.width, self.scrollable_size.height - 1
        if row < y:
            y = row
        elif row >= y + height:
            y = row - height + 1
        if left < x or right - left > width:
            x = left
        elif right > x + width:
            x = right - width
        self.scroll_to(x, y, animate=False)
        self.refresh()

    def on_resize(self, _: Resize) -> None:
        """Keep the cursor in view."""
        self.watch_cursor()

    def on_click(self, event: Click) -> None:
        """A cell is moved to; a title sorts; a second click chooses."""
        event.stop()
        x, y = self.scroll_offset
        left, place = event.x + x, 0
        for place, column in enumerate(self.columns):  # noqa: B007  # the last one counts
            left -= column.width + len(_GAP)
            if left < 0:
                break
        if event.y == 0:
            if self.columns:
                self.post_message(self.Sorted(self, place))
        elif (row := y + event.y - 1) < self.count:
            self.cursor = (row, place)
            if event.chain > 1:
                self.action_chosen()

    def action_move(self, rows: int, columns: int) -> None:
        """Move by so many cells."""
        row, column = self.cursor
        self.cursor = self._within(row + rows, column + columns)

    def action_page(self, pages: int) -> None:
        """Move by what is on the screen."""
        self.action_move(pages * max(1, self.scrollable_size.height - 2), 0)

    def action_edge(self, rows: int, columns: int) -> None:
        """Go to the first or last row, or column."""
        many = max(self.count, len(self.columns))
        self.action_move(rows * many, columns * many)

    def action_chosen(self) -> None:
        """Tell whoever shows the grid that this row is meant."""
        if self.count:
            self.post_message(self.Chosen(self))
