"""Rows of a prepared question as a page draws them: every cell is text that nothing obeys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from lakehouse.core.text import printable
from lakehouse.explorer.analyses import bars, charted, holds_numbers
from lakehouse.explorer.report import Chart, Series
from lakehouse.explorer.show import cell

MOST = 200
"""Rows that a page shows."""


def rows_of(rows: pa.Table) -> dict[str, Any]:
    """Columns with their kinds, and cells as a person reads them."""
    columns = [{"name": printable(f.name), "number": holds_numbers(f.type)} for f in rows.schema]
    values = rows.slice(0, MOST).to_pylist()
    return {
        "columns": columns,
        "rows": [[cell(row[f.name], f.name) for f in rows.schema] for row in values],
    }


def picture(rows: pa.Table, chart: Chart | None, *, guess: bool) -> dict[str, Any] | None:
    """Bars, as the product declares or as they are guessed; None where nothing can be drawn."""
    chart = chart or (charted(rows) if guess else None)
    if chart is None or not (found := bars(rows, chart, 25)):
        return None
    drawn = [
        {
            "label": b.label,
            "value": b.value,
            "share": round(b.share, 4),
            "negative": b.is_negative,
            "scale": b.scale,
        }
        for b in found
    ]
    return {"of": chart.value.replace("_", " "), "bars": drawn}


def lines(rows: pa.Table, series: Series, ids: Sequence[str]) -> dict[str, Any]:
    """Lines over time: a name, and of each point its moment, number, text and row."""
    found: dict[str, list[list[Any]]] = {}
    for row, known in zip(rows.to_pylist(), ids, strict=True):
        for value in series.values:
            name = cell(row[series.by]) if series.by else value.replace("_", " ")
            number = row[value]
            if row[series.time] is not None and number is not None:
                point = [_moment(row[series.time]), float(number), cell(number, value), known]
                found.setdefault(name, []).append(point)
    return {
        "title": series.title,
        "apart": bool(series.by),
        "daily": rows.num_rows > 0 and pa.types.is_date(rows.schema.field(series.time).type),
        "lines": [{"name": name, "points": points} for name, points in found.items()],
    }


def tiles(title: str, rows: pa.Table, ids: Sequence[str]) -> list[dict[str, str]]:
    """Figures of now: title, value, unit, moment, and change as text and as a sign."""
    found = zip(rows.slice(0, 6).to_pylist(), ids, strict=False)
    return [{**_tile(title, row), "id": known} for row, known in found]


def _tile(title: str, row: Mapping[str, Any]) -> dict[str, str]:
    change = row.get("change_pct")
    return {
        "title": title,
        "value": cell(row.get("value"), "value"),
        "unit": cell(row.get("unit")),
        "moment": cell(row.get("moment")),
        "change": "" if change is None else cell(change, "change_pct"),
        "sign": "" if change is None else ("down" if change < 0 else "up"),
    }


def _moment(value: date) -> float:
    """Milliseconds since 1970, UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(f"{value}T00:00:00Z")
    return moment.timestamp() * 1000
