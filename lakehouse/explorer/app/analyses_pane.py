"""The prepared analyses: a list, a picture, and the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import OptionList

from lakehouse.explorer.analyses import Analysis, Bar, bars, charted, lines
from lakehouse.explorer.app.results import Results
from lakehouse.explorer.report import Chart
from lakehouse.explorer.session import Session

if TYPE_CHECKING:
    import pyarrow as pa

_BARS = 200


class Bars(Widget):
    """Bars of text, as wide as there is room."""

    DEFAULT_CSS = "Bars { width: 1fr; height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[Bar] = []

    def get_content_height(self, *_: object) -> int:
        """A line a bar."""
        return len(self.bars)

    def render(self) -> Text:
        """The lines, at the width at hand."""
        text = Text("\n".join(lines(self.bars, max(20, self.size.width))), no_wrap=True)
        text.highlight_regex(r"[█▏▎▍▌▋▊▉]+", "blue")
        return text


class Picture(VerticalScroll, can_focus=False):
    """Bars, and room to scroll them."""

    DEFAULT_CSS = "Picture { height: auto; max-height: 40%; scrollbar-size-vertical: 1; }"

    def compose(self) -> ComposeResult:
        """The bars."""
        yield Bars()

    def draw(self, rows: pa.Table | None, chart: Chart | None) -> None:
        """Draw other rows, or nothing."""
        drawn = self.query_one(Bars)
        drawn.bars = bars(rows, chart, _BARS) if rows and chart else []
        drawn.refresh(layout=True)
        self.display = bool(drawn.bars)


class AnalysesPane(Vertical):
    """What each product's report asks."""

    DEFAULT_CSS = """
    AnalysesPane > OptionList { height: 25%; min-height: 4; border: none; padding: 0;
        text-wrap: nowrap; text-overflow: ellipsis; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "rows('filter')", "Filter", key_display="/"),
        Binding("p", "rows('profile')", "Profile"),
        Binding("d", "rows('origin')", "Drill down"),
        Binding("e", "rows('export')", "Export"),
    ]
    """Of the rows, also while the list has the keys."""

    def __init__(self, session: Callable[[], Session]) -> None:
        super().__init__()
        self._session = session
        self.analyses: list[Analysis] = []
        self.shown: Analysis | None = None

    def compose(self) -> ComposeResult:
        """List, picture, rows."""
        yield OptionList(markup=False, compact=True)
        yield Picture()
        yield Results(self._session)

    def list(self, found: list[Analysis]) -> None:
        """Offer these analyses, and show the first where none is shown."""
        if [a.name for a in found] == [a.name for a in self.analyses]:
            return
        self.analyses = found
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Text(f"{a.product}  {a.title}", no_wrap=True) for a in found])
        if found:
            options.highlighted = 0

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show it at once: moving through the list is looking through the analyses."""
        event.stop()
        self.show(self.analyses[event.option_index])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go to its rows."""
        event.stop()
        self.query_one(Results).grid.focus()

    def show(self, analysis: Analysis, *, stay: bool = False) -> None:
        """Show an analysis; with ``stay`` the same one again."""
        self.shown = analysis
        self.query_one(Results).ask(analysis.sql, stay=stay)

    def step(self, by: int) -> None:
        """The next analysis, or the one before."""
        options = self.query_one(OptionList)
        if self.analyses:
            options.highlighted = ((options.highlighted or 0) + by) % len(self.analyses)

    def pick(self, name: str) -> None:
        """Show the analysis of this name."""
        names = [analysis.name for analysis in self.analyses]
        self.query_one(OptionList).highlighted = names.index(name)

    def action_rows(self, name: str) -> None:
        """Do with the rows what their own key does."""
        getattr(self.query_one(Results), f"action_{name}")()

    def on_results_shown(self, event: Results.Shown) -> None:
        """Draw its picture."""
        event.stop()
        rows = event.results.grid.rows
        chart = self.shown.chart if self.shown else None
        self.query_one(Picture).draw(rows, chart or charted(rows))

    def on_results_wrong(self, event: Results.Wrong) -> None:
        """No picture of nothing."""
        event.stop()
        self.query_one(Picture).draw(None, None)
