"""Rows as a table, JSON, CSV or Markdown. Text from the data is printed as text, never obeyed."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Format(StrEnum):
    """How rows are written."""

    table = "table"
    json = "json"
    csv = "csv"
    md = "md"


def render(
    sections: dict[str, pa.Table], form: Format, width: int | None = None, *, color: bool = False
) -> str:
    """Named tables as one text; ``color`` adds a terminal's styles to the drawn table."""
    if form is Format.json:
        found = {name: _objects(rows) for name, rows in sections.items()}
        text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)
        return _escape_json(text) + "\n"
    write = {Format.csv: _csv_section, Format.md: _markdown}.get(form)
    if form is Format.csv and len(sections) == 1:
        return "".join(_csv(rows, doubtful=False) for rows in sections.values())
    if write is not None:
        return "\n".join(write(name, rows) for name, rows in sections.items())
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, highlight=False)
    asked = console.width
    for name, rows in sections.items():
        table = _rich(name, rows)
        # wider than the terminal rather than with a number cut, which would look like another
        console.width = max(asked, _least_width(console, table))
        console.print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def printable(text: str) -> str:
    """The text with control, direction and other unprintable characters written out."""
    return "".join(c if c.isprintable() else _written(c) for c in text)


def _written(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def cell(value: Any, column: str = "") -> str:
    """A value for a person: no control characters, money with separators."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        if column.endswith("_pct"):
            return f"{value:+,.1f}%"
        return f"{value:,}" if not _scale(value) else f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return printable(str(value))


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _values(rows: pa.Table) -> list[tuple[Any, ...]]:
    """Rows as tuples, by position: two columns may have one name."""
    columns = []
    for column in rows.columns:
        try:
            columns.append(column.to_pylist())
        except (ValueError, OverflowError):  # a time that Python cannot hold
            whole = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
            columns.append(column.cast(whole).to_pylist())
    return list(zip(*columns, strict=True))


def _rich(name: str, rows: pa.Table) -> Table:
    table = Table(
        title=Text(printable(name).replace("_", " ").upper(), style="bold"),
        title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), header_style="cyan",
    )  # fmt: skip
    for field, column in zip(rows.schema, rows.columns, strict=True):
        number = pa.types.is_integer(field.type) or pa.types.is_decimal(field.type)
        header = printable(field.name).rstrip("_").replace("_pct", " %").replace("_", " ")
        text = pa.types.is_string(field.type)
        wide = pa.types.is_nested(field.type) or (text and _longest(column) > 34)
        table.add_column(
            Text(header), justify="right" if number else "left", overflow="fold",
            no_wrap=not wide,
        )  # fmt: skip
    for row in _values(rows):
        pairs = zip(row, rows.schema.names, strict=True)
        table.add_row(*[_drawn(value, column) for value, column in pairs])
    return table


def _least_width(console: Console, table: Table) -> int:
    """Columns of a terminal in which no column that must not be folded is cut."""
    wide = console.options.update(max_width=10_000)
    widths = [
        max(console.measure(text, options=wide).maximum for text in (c.header, *c.cells))
        if c.no_wrap
        else 20
        for c in table.columns
    ]
    return sum(widths) + 3 * len(widths) + 1


def _longest(column: pa.ChunkedArray) -> int:
    return max((len(value) for value in column.to_pylist() if value), default=0)


def _drawn(value: Any, column: str) -> Text:
    negative = isinstance(value, Decimal | int) and not isinstance(value, bool) and value < 0
    return Text(cell(value, column), style="red" if negative else "")


def _csv_section(name: str, rows: pa.Table) -> str:
    """A section of CSV; all is quoted where a value would look like a section's name."""
    doubtful = any("\n#" in f"\n{_plain(value)}" for row in _values(rows) for value in row)
    return f"# {name}\n{_csv(rows, doubtful=doubtful)}"


def _csv(rows: pa.Table, *, doubtful: bool) -> str:
    out = io.StringIO()
    writer = csv.writer(
        out, lineterminator="\n", quoting=csv.QUOTE_ALL if doubtful else csv.QUOTE_MINIMAL
    )
    writer.writerow(rows.schema.names)
    writer.writerows([_plain(value) for value in row] for row in _values(rows))
    return out.getvalue()


def _markdown(name: str, rows: pa.Table) -> str:
    names = [_markdown_text(n) for n in rows.schema.names]
    kinds = [pa.types.is_integer(f.type) or pa.types.is_decimal(f.type) for f in rows.schema]
    rule = "|".join(" ---: " if number else " --- " for number in kinds)
    lines = [f"## {_markdown_text(name)}", "", "| " + " | ".join(names) + " |", f"|{rule}|"]
    for row in _values(rows):
        pairs = zip(row, rows.schema.names, strict=True)
        cells = [_markdown_text(cell(value, column)) for value, column in pairs]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _markdown_text(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|!~]|\b_|_\b)", r"\\\1", text)


def _objects(rows: pa.Table) -> list[dict[str, Any]]:
    names: list[str] = []
    for name in rows.schema.names:
        count, free = 1, name
        while free in names:
            count += 1
            free = f"{name}_{count}"
        names.append(free)
    return [
        {name: _plain(value) for name, value in zip(names, row, strict=True)}
        for row in _values(rows)
    ]


def _escape_json(text: str) -> str:
    """JSON's own escapes for what a terminal might obey; the value stays the same."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c).strip('"') for c in text)


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
