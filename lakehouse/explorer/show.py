"""Prints rows as a table, JSON, CSV or Markdown; control characters in data are escaped."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from lakehouse.core.text import as_json, for_spreadsheet, printable
from lakehouse.explorer.drawn import Column, Wide, cell, draw, scale, values
from lakehouse.explorer.format import Format

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Wide", "cell", "printed", "render", "width"]


def render(
    sections: Mapping[str, pa.Table | list[dict[str, Any]]],
    form: Format,
    width: int | None = None,
    *,
    color: bool = False,
    raw: bool = False,
    wide: Wide = Wide.AS_IS,
) -> str:
    """Named tables as one text; ``color`` adds terminal styles to drawn tables.

    CSV is for terminals and spreadsheets: no text in it is a formula, or obeyed. ``raw`` CSV
    is for programs, each text as it is. ``wide`` is what becomes of a drawn table that the
    width has no room for.
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
    return draw(drawn, width, wide, color=color)


def printed(
    sections: Mapping[str, pa.Table | list[dict[str, Any]]],
    form: Format,
    wide: Wide,
    *,
    raw: bool = False,
) -> str:
    """As :func:`render`, for stdout: on a terminal in its width and in colours."""
    is_seen = sys.stdout.isatty()
    wide = wide if is_seen else Wide.AS_IS
    return render(sections, form, width(), color=is_seen, raw=raw, wide=wide)


def width() -> int:
    """Width to draw in, in characters: the terminal's, or 120 if stdout is not a terminal."""
    return Console().width if sys.stdout.isatty() else 120


def _columns(rows: pa.Table | list[dict[str, Any]]) -> list[Column]:
    """The columns of a table or of a list of rows; a table may have two columns of one name."""
    if isinstance(rows, list):  # without Arrow, which loads slowly
        names = dict.fromkeys(name for row in rows for name in row)
        by_name = {name: [row[name] for row in rows] for name in names}
        return [Column(name, values, _kind_of(values)) for name, values in by_name.items()]
    import pyarrow as pa  # noqa: PLC0415  # rows of a list are drawn without Arrow

    found = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        try:
            values = column.to_pylist()
        except (ValueError, OverflowError):  # a time that Python cannot hold
            whole = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
            values = column.cast(whole).to_pylist()
        found.append(Column(field.name, values, _kind(field.type)))
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


def _csv_section(name: str, columns: list[Column]) -> str:
    """A section of CSV; everything is quoted if a value looks like a section's heading."""
    doubtful = any("\n#" in f"\n{_plain(value)}" for row in values(columns) for value in row)
    return f"# {printable(name)}\n{_csv(columns, doubtful=doubtful)}"


def _csv(columns: list[Column], *, doubtful: bool) -> str:
    out = io.StringIO()
    rows = [[column.name for column in columns]]
    rows += [[_plain(value) for value in row] for row in values(columns)]
    doubtful |= any("\r" in str(value) for row in rows for value in row)  # csv leaves it bare
    writer = csv.writer(
        out, lineterminator="\n", quoting=csv.QUOTE_ALL if doubtful else csv.QUOTE_MINIMAL
    )
    writer.writerows(rows)
    return out.getvalue()


def _for_spreadsheet(column: Column) -> Column:
    """The column, with no formula and no control character in its name or its values."""
    return Column(for_spreadsheet(column.name), [*map(_safe, column.values)], column.kind)


def _safe(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | Decimal | date):
        return value
    return for_spreadsheet(str(_plain(value)))


def _markdown(name: str, columns: list[Column]) -> str:
    names = [_markdown_text(printable(column.name)) for column in columns]
    rule = "|".join(" ---: " if column.kind == "number" else " --- " for column in columns)
    lines = [
        f"## {_markdown_text(printable(name))}",
        "",
        "| " + " | ".join(names) + " |",
        f"|{rule}|",
    ]
    for row in values(columns):
        pairs = zip(row, columns, strict=True)
        cells = [_markdown_text(cell(value, column.name)) for value, column in pairs]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _markdown_text(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|!~]|\b_|_\b)", r"\\\1", text)


def _objects(columns: list[Column]) -> list[dict[str, Any]]:
    names: list[str] = []
    for name in (column.name for column in columns):
        count, free = 1, name
        while free in names:
            count += 1
            free = f"{name}_{count}"
        names.append(free)
    return [
        {name: _plain(value) for name, value in zip(names, row, strict=True)}
        for row in values(columns)
    ]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal) and not scale(value):
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
