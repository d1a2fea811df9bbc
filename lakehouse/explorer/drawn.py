"""Draws rows as tables, each number whole; what is wider than a terminal is drawn to fit it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lakehouse.core.text import printable
from lakehouse.explorer.format import whole

_LONGEST = 20_000
"""Characters of a value that a person is shown; JSON and CSV have it whole."""
_LONG, _FOLDED, _WORD = 26, 20, 40
"""Characters above which text is long, those that a column of it needs, as it goes on in the next
line, and those of a word, such as a table's name, that is not broken for it."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")


class Wide(Enum):
    """What becomes of a table that is wider than the screen."""

    AS_IS = 0
    """It is drawn wide: a line may be longer than the screen."""
    FITS = 1
    """It has the first columns that there is room for: the same ones when it is drawn again."""
    FEWER = 2
    """It has those, empty ones last, and says which are left out."""
    BELOW = 3
    """Each row is drawn as lines, a column each."""


@dataclass(frozen=True)
class Column:
    """A column's name and values, and their kind as far as printing needs it."""

    name: str
    values: list[Any]
    kind: Literal["number", "text", "nested", "other"]

    @property
    def is_long(self) -> bool:
        """Whether its values may go on in the next line."""
        return self.kind == "nested" or (self.kind == "text" and _longest(self.values) > _LONG)

    @property
    def width(self) -> int:
        """The least width, in characters, at which no value of it is cut."""
        texts = (self.name, *(cell(value, self.name) for value in self.values))
        widest = max(cell_len(printable(text)) for text in texts)
        if not self.is_long:
            return widest
        word = max(cell_len(printable(one)) for text in texts for one in text[:_LONGEST].split())
        return min(widest, max(_FOLDED, cell_len(self.name), min(word, _WORD)))

    @property
    def is_empty(self) -> bool:
        """Whether it has no value."""
        return all(value is None or value in ("", {}, []) for value in self.values)


def draw(
    sections: Mapping[str, list[Column]], width: int | None, wide: Wide, *, color: bool
) -> str:
    """Named tables as one text for a person."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, highlight=False)
    asked = console.width
    for name, columns in sections.items():
        shown = columns
        left_out: list[str] = []
        if _width(columns) > asked and wide is Wide.BELOW:
            _draw_below(name, columns, console)
            continue
        if _width(columns) > asked and wide is not Wide.AS_IS:
            shown = _fitting(columns, asked, wide)
            kept = {column.name for column in shown}
            left_out = [column.name for column in columns if column.name not in kept]
        # rather wider than the terminal than a number cut off, which would look like another
        console.width = max(asked, _width(shown))
        console.print(_table(name, shown))
        if left_out and wide is Wide.FEWER:
            console.width = asked
            told = f"  no room for: {', '.join(map(printable, left_out))}\n"
            console.print(Text(told, style="dim"))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def cell(value: Any, column: str = "") -> str:
    """A value as a person reads it: control characters escaped, money with separators."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        if column.endswith("_pct"):
            return f"{value:+,.1f}%"
        return f"{value:,}" if not scale(value) else f"{value:,.2f}"
    if isinstance(value, int):
        return whole(value, column)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = str(value)
    if len(text) > _LONGEST:
        return f"{printable(text[:_LONGEST])}… ({len(text):,} characters)"
    return printable(text)


def scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def values(columns: list[Column]) -> list[tuple[Any, ...]]:
    """Rows as tuples, by position."""
    return list(zip(*(column.values for column in columns), strict=True))


def _title(name: str) -> str:
    """A section's title; the name of a table as it stands, to be typed."""
    shown = printable(name)
    return shown if "." in shown else shown.replace("_", " ").upper()


def _table(name: str, columns: list[Column]) -> Table:
    table = Table(
        title=Text(_title(name), style="bold"), title_justify="left", box=box.SIMPLE_HEAD,
        padding=(0, 1), header_style="cyan",
    )  # fmt: skip
    for column in columns:
        table.add_column(
            Text(printable(column.name)), overflow="fold", no_wrap=not column.is_long,
            justify="right" if column.kind == "number" else "left",
        )  # fmt: skip
    for row in values(columns):
        pairs = zip(row, columns, strict=True)
        table.add_row(*[_drawn(value, column.name) for value, column in pairs])
    return table


def _width(columns: list[Column]) -> int:
    """The width, in characters, at which no column that must stay on one line is cut."""
    return sum(column.width for column in columns) + 3 * len(columns) + 1


def _fitting(columns: list[Column], width: int, wide: Wide) -> list[Column]:
    """The columns that a width has room for, the first before others."""
    columns = [_to_the_minute(column) for column in columns]
    asked, kept = list(range(len(columns))), list[int]()
    if wide is Wide.FEWER:
        asked.sort(key=lambda number: columns[number].is_empty)
    for number in asked:
        if not kept or _width([columns[n] for n in (*kept, number)]) <= width:
            kept.append(number)
    return [columns[number] for number in sorted(kept)]


def _to_the_minute(column: Column) -> Column:
    """The column; one of times in full as a person reads them."""
    found = [value for value in column.values if value is not None]
    if not all(isinstance(value, str) and _MOMENT.fullmatch(value) for value in found):
        return column
    short = [value and value[:16].replace("T", " ") for value in column.values]
    return replace(column, values=short)


def _draw_below(name: str, columns: list[Column], console: Console) -> None:
    """Each row as lines of a column's name and its value."""
    console.print(Text(f"{_title(name)}\n", style="bold"))
    rows = values(columns)
    for number, row in enumerate(rows, start=1):
        if len(rows) > 1:
            console.print(Text(f"  ── {number:,} of {len(rows):,}", style="dim"))
        lines = Table(box=None, padding=(0, 1), show_header=False)
        lines.add_column(no_wrap=True, style="cyan")
        lines.add_column(overflow="fold")
        for value, column in zip(row, columns, strict=True):
            lines.add_row(Text(f" {printable(column.name)}"), _drawn(value, column.name))
        console.print(lines)
    console.print()


def _longest(values: list[Any]) -> int:
    return max((len(value) for value in values if value), default=0)


def _drawn(value: Any, column: str) -> Text:
    negative = isinstance(value, Decimal | int) and not isinstance(value, bool) and value < 0
    return Text(cell(value, column), style="red" if negative else "")
