"""What a cell of the grid shows: numbers whole and exact, and of text nothing that is obeyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from lakehouse.core.text import printable
from lakehouse.explorer.format import whole

if TYPE_CHECKING:
    import pyarrow as pa

WIDEST = 48
"""Cells of the terminal that text takes at most; numbers and times take what they need."""
_LOOKED_AT = 200
"""Rows by which columns of text are made wide enough."""
_LONGEST = 2_000
"""Characters of a value that the grid looks at; a value's own screen shows more."""


@dataclass(frozen=True)
class Column:
    """A column as it is drawn."""

    name: str
    title: str
    width: int
    is_number: bool
    places: int | None = None
    """Digits after the point that all its amounts are drawn with, none of them lost."""


def exact(value: Any) -> str:
    """A value in full: every digit, times with their offset, bytes and controls escaped."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        return _amount(value)
    if isinstance(value, datetime):
        return value.isoformat(" ").replace("+00:00", "Z")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return printable(str(value))


def fields(row: Mapping[str, Any]) -> list[str]:
    """A row in full, a line each column."""
    width = max(map(len, map(exact, row)), default=0)
    return [f"{exact(name):<{width}}  {exact(value)}" for name, value in row.items()]


def bare(value: Any) -> str:
    """:func:`exact` as another program takes it: numbers without separators."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    return exact(value)


def short(value: Any, column: Column | None = None) -> str:
    """:func:`exact` of the first part of a long text; amounts of a column in line."""
    if column and column.places is not None and isinstance(value, Decimal):
        return f"{value:,.{column.places}f}"
    if column and isinstance(value, int) and not isinstance(value, bool):
        return whole(value, column.name)
    if isinstance(value, str | bytes) and len(value) > _LONGEST:
        value = value[:_LONGEST]
    return exact(value)


def _amount(value: Decimal) -> str:
    """All digits that count, and at least two after the point where the type has any."""
    text = f"{value:,f}"
    whole, point, rest = text.partition(".")
    if not point:
        return text
    return f"{whole}.{rest.rstrip('0'):0<2}"


def columns_of(rows: pa.Table) -> list[Column]:
    """The columns, wide enough that no number or time is cut."""
    return [_column(field, rows.column(place)) for place, field in enumerate(rows.schema)]


def fitted(text: str, column: Column) -> str:
    """Text in its column's width; what is longer ends in an ellipsis."""
    if cell_len(text) > column.width:
        return set_cell_size(text, column.width - 1) + "…"
    missing = " " * (column.width - cell_len(text))
    return missing + text if column.is_number else text + missing


def cut(text: str, start: int, end: int) -> str:
    """Text of which the screen has the cells from ``start`` to ``end``: an edge leaves a mark."""
    width, whole = cell_len(text), cell_len(text.rstrip())
    if 0 < end < whole:
        text = set_cell_size(set_cell_size(text, end - 1) + "…", width)
    if 0 < start < whole:
        text = " " * start + "…" + _after(text, start + 1)
    return text


def _after(text: str, cells: int) -> str:
    """The text without so many cells at its beginning, of a wide character both."""
    passed = 0
    for place, character in enumerate(text):
        if passed >= cells:
            return " " * (passed - cells) + text[place:]
        passed += cell_len(character)
    return ""


def _column(field: pa.Field[Any], values: pa.ChunkedArray[Any]) -> Column:
    import pyarrow as pa  # noqa: PLC0415  # the first screen comes before the engine

    kind = field.type
    is_number = pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind)
    title = printable(field.name)
    found: Sequence[Any]
    places = _places(values) if pa.types.is_decimal(kind) else None
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        found = _ends(values, places)
    elif pa.types.is_floating(kind):
        found = values.to_pylist()
    else:
        found = plain(values.slice(0, _LOOKED_AT))
    widest = max((cell_len(short(value)) for value in found), default=0)
    width = max(widest, min(cell_len(title), WIDEST) + 2)  # and the mark of a sorted column
    return Column(field.name, title, width if is_number else min(width, WIDEST), is_number, places)


def _ends(values: pa.ChunkedArray[Any], places: int | None) -> list[str]:
    """The least and the greatest as they are drawn: none between is wider."""
    import pyarrow.compute as pc  # noqa: PLC0415  # it loads slowly, and only rows need it

    found = pc.min_max(values)
    ends = [found["min"].as_py(), found["max"].as_py()]
    return [f"{v:,}" if places is None else f"{v:,.{places}f}" for v in ends if v is not None]


def _places(values: pa.ChunkedArray[Any]) -> int:
    """So many digits after the point that no value needs more: 2, or all that the type has."""
    import pyarrow as pa  # noqa: PLC0415  # as above
    import pyarrow.compute as pc  # noqa: PLC0415  # as above

    scale = int(values.type.scale)
    if scale <= 2:
        return scale
    try:
        is_enough = pc.all(pc.equal(pc.round(values, 2), values)).as_py() is not False
    except pa.ArrowException:  # the type has no room to round in
        is_enough = False
    return 2 if is_enough else scale


def plain(values: pa.ChunkedArray[Any]) -> list[Any]:
    """Values as Python's; times that Python cannot hold as numbers."""
    try:
        return list(values.to_pylist())
    except (ValueError, OverflowError):
        import pyarrow as pa  # noqa: PLC0415  # as above

        whole = pa.int32() if pa.types.is_date32(values.type) else pa.int64()
        return list(values.cast(whole).to_pylist())
