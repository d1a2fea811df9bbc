"""Prints rows as a table, JSON, CSV or Markdown; control characters in data are escaped."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lakehouse.core.text import as_json, for_spreadsheet, printable
from lakehouse.explorer.format import Format, whole

if TYPE_CHECKING:
    import pyarrow as pa


_LONGEST = 20_000
"""Characters of a value that a person is shown; JSON and CSV have it whole."""


def render(
    sections: Mapping[str, pa.Table | list[dict[str, Any]]],
    form: Format,
    width: int | None = None,
    *,
    color: bool = False,
    raw: bool = False,
    fits: bool = False,
) -> str:
    """Named tables as one text; ``color`` adds terminal styles to drawn tables.

    CSV is for terminals and spreadsheets: no text in it is a formula, or obeyed. ``raw`` CSV
    is for programs, each text as it is. ``fits`` leaves out the last columns of a drawn table that
    the width has no room for, as on a screen that nobody can scroll.
    """
    drawn = {name: _columns(rows) for name, rows in sections.items()}
    if form is Format.json:
        found = {name: _objects(rows) for name, rows in drawn.items()}
        return as_json(found, indent=2) + "\n"
    if form is Format.csv:
        if not raw:
            drawn = {name: [*map(_for_spreadsheet, rows)] for name, rows in drawn.items()}
        if len(drawn) == 1:
            return "".join(_csv(rows, doubtful=False) for rows in drawn.values())
        return "\n".join(_csv_section(name, rows) for name, rows in drawn.items())
    if form is Format.md:
        return "\n".join(_markdown(name, rows) for name, rows in drawn.items())
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, highlight=False)
    asked = console.width
    for name, rows in drawn.items():
        table = _rich(name, _fitting(name, rows, console, asked) if fits else rows)
        # rather wider than the terminal than a number cut off, which would look like another
        console.width = max(asked, _least_width(console, table))
        console.print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def width() -> int:
    """Width to draw in, in characters: the terminal's, or 120 if stdout is not a terminal."""
    return Console().width if sys.stdout.isatty() else 120


def cell(value: Any, column: str = "") -> str:
    """A value as a person reads it: control characters escaped, money with separators."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        if column.endswith("_pct"):
            return f"{value:+,.1f}%"
        return f"{value:,}" if not _scale(value) else f"{value:,.2f}"
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


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


@dataclass(frozen=True)
class _Column:
    """A column's name and values, and their kind as far as printing needs it."""

    name: str
    values: list[Any]
    kind: Literal["number", "text", "nested", "other"]


def _columns(rows: pa.Table | list[dict[str, Any]]) -> list[_Column]:
    """The columns of a table or of a list of rows; a table may have two columns of one name."""
    if isinstance(rows, list):  # without Arrow, which loads slowly
        names = dict.fromkeys(name for row in rows for name in row)
        by_name = {name: [row[name] for row in rows] for name in names}
        return [_Column(name, values, _kind_of(values)) for name, values in by_name.items()]
    import pyarrow as pa  # noqa: PLC0415  # rows of a list are drawn without Arrow

    found = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        try:
            values = column.to_pylist()
        except (ValueError, OverflowError):  # a time that Python cannot hold
            whole = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
            values = column.cast(whole).to_pylist()
        found.append(_Column(field.name, values, _kind(field.type)))
    return found


def _kind(type_: pa.DataType) -> Literal["number", "text", "nested", "other"]:
    import pyarrow as pa  # noqa: PLC0415  # as above

    if pa.types.is_integer(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_nested(type_):
        return "nested"
    return "text" if pa.types.is_string(type_) else "other"


def _kind_of(values: list[Any]) -> Literal["number", "text", "other"]:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, int) and not isinstance(first, bool):
        return "number"
    return "text" if isinstance(first, str) else "other"


def _values(columns: list[_Column]) -> list[tuple[Any, ...]]:
    """Rows as tuples, by position."""
    return list(zip(*(column.values for column in columns), strict=True))


def _rich(name: str, columns: list[_Column]) -> Table:
    table = Table(
        title=Text(printable(name).replace("_", " ").upper(), style="bold"),
        title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), header_style="cyan",
    )  # fmt: skip
    for column in columns:
        header = printable(column.name).rstrip("_").replace("_pct", " %").replace("_", " ")
        wide = column.kind == "nested" or (column.kind == "text" and _longest(column.values) > 34)
        table.add_column(
            Text(header), justify="right" if column.kind == "number" else "left", overflow="fold",
            no_wrap=not wide,
        )  # fmt: skip
    for row in _values(columns):
        pairs = zip(row, columns, strict=True)
        table.add_row(*[_drawn(value, column.name) for value, column in pairs])
    return table


def _fitting(name: str, columns: list[_Column], console: Console, width: int) -> list[_Column]:
    """The first columns, as many as a width has room for."""
    while len(columns) > 1 and _least_width(console, _rich(name, columns)) > width:
        columns = columns[:-1]
    return columns


def _least_width(console: Console, table: Table) -> int:
    """The width, in characters, at which no column that must stay on one line is cut."""
    wide = console.options.update(max_width=10_000)
    widths = [
        max(console.measure(text, options=wide).maximum for text in (c.header, *c.cells))
        if c.no_wrap
        else 20
        for c in table.columns
    ]
    return sum(widths) + 3 * len(widths) + 1


def _longest(values: list[Any]) -> int:
    return max((len(value) for value in values if value), default=0)


def _drawn(value: Any, column: str) -> Text:
    negative = isinstance(value, Decimal | int) and not isinstance(value, bool) and value < 0
    return Text(cell(value, column), style="red" if negative else "")


def _csv_section(name: str, columns: list[_Column]) -> str:
    """A section of CSV; everything is quoted if a value looks like a section's heading."""
    doubtful = any("\n#" in f"\n{_plain(value)}" for row in _values(columns) for value in row)
    return f"# {printable(name)}\n{_csv(columns, doubtful=doubtful)}"


def _csv(columns: list[_Column], *, doubtful: bool) -> str:
    out = io.StringIO()
    rows = [[column.name for column in columns]]
    rows += [[_plain(value) for value in row] for row in _values(columns)]
    doubtful |= any("\r" in str(value) for row in rows for value in row)  # csv leaves it bare
    writer = csv.writer(
        out, lineterminator="\n", quoting=csv.QUOTE_ALL if doubtful else csv.QUOTE_MINIMAL
    )
    writer.writerows(rows)
    return out.getvalue()


def _for_spreadsheet(column: _Column) -> _Column:
    """The column, with no formula and no control character in its name or its values."""
    return _Column(for_spreadsheet(column.name), [*map(_safe, column.values)], column.kind)


def _safe(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | Decimal | date):
        return value
    return for_spreadsheet(str(_plain(value)))


def _markdown(name: str, columns: list[_Column]) -> str:
    names = [_markdown_text(printable(column.name)) for column in columns]
    rule = "|".join(" ---: " if column.kind == "number" else " --- " for column in columns)
    lines = [
        f"## {_markdown_text(printable(name))}",
        "",
        "| " + " | ".join(names) + " |",
        f"|{rule}|",
    ]
    for row in _values(columns):
        pairs = zip(row, columns, strict=True)
        cells = [_markdown_text(cell(value, column.name)) for value, column in pairs]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _markdown_text(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|!~]|\b_|_\b)", r"\\\1", text)


def _objects(columns: list[_Column]) -> list[dict[str, Any]]:
    names: list[str] = []
    for name in (column.name for column in columns):
        count, free = 1, name
        while free in names:
            count += 1
            free = f"{name}_{count}"
        names.append(free)
    return [
        {name: _plain(value) for name, value in zip(names, row, strict=True)}
        for row in _values(columns)
    ]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal) and not _scale(value):
        return int(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return str(value)
