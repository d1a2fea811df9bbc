"""Rows as a table, JSON, CSV or Markdown. Text from the data is printed as text, never obeyed."""

from __future__ import annotations

import csv
import io
import json
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


def render(sections: dict[str, pa.Table], form: Format, width: int | None = None) -> str:
    """Named tables as one text."""
    if form is Format.json:
        found = {name: [_jsonable(r) for r in t.to_pylist()] for name, t in sections.items()}
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    write = {Format.csv: _csv, Format.md: _markdown}.get(form)
    if write is not None:
        return "\n".join(write(name, rows) for name, rows in sections.items())
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False)
    for name, rows in sections.items():
        console.print(_rich(name, rows))
    return out.getvalue()


def cell(value: Any) -> str:
    """A value for a person: no control characters, money with separators."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return f"{value:,}" if not _scale(value) else f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value))


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _rich(name: str, rows: pa.Table) -> Table:
    table = Table(
        title=name.replace("_", " ").upper(),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    for field in rows.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_decimal(field.type)
        header = field.name.rstrip("_").replace("_", " ")
        wide = pa.types.is_string(field.type)
        table.add_column(
            Text(header), justify="right" if number else "left", overflow="fold", no_wrap=not wide
        )
    for row in rows.to_pylist():
        table.add_row(*[Text(cell(v)) for v in row.values()])
    return table


def _csv(name: str, rows: pa.Table) -> str:
    out = io.StringIO()
    out.write(f"# {name}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.schema.names)
    for row in rows.to_pylist():
        writer.writerow([_plain(value) for value in row.values()])
    return out.getvalue()


def _markdown(name: str, rows: pa.Table) -> str:
    names = rows.schema.names
    lines = [f"## {name}", "", "| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in rows.to_pylist():
        cells = [cell(v).replace("|", "\\|").replace("<", "&lt;") for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _jsonable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return _jsonable(value)
    return value
