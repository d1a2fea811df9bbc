"""Each product's prepared analyses, and the picture of each: bars, as shares of the greatest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lakehouse.explorer.report import Chart, of_product, products_of, titles
from lakehouse.explorer.show import cell
from lakehouse.products.registry import part

if TYPE_CHECKING:
    import pyarrow as pa

_EIGHTHS = " ▏▎▍▌▋▊▉"
_MONEY = "net_revenue"


@dataclass(frozen=True)
class Analysis:
    """One question that a product's report asks, under its title."""

    product: str
    name: str
    title: str
    sql: str
    chart: Chart | None
    """As its product declares it; None: :func:`charted` guesses."""


@dataclass(frozen=True)
class Bar:
    """One row of a picture; ``share`` is of the greatest on its scale, from 0 to 1."""

    label: str
    value: str
    share: float
    is_negative: bool
    scale: str = ""
    """What its scale is of, such as a currency; empty where all bars have one scale."""


def analyses(names: Collection[str]) -> list[Analysis]:
    """The analyses of every product of which the lake has a table, in order."""
    said, found = titles(), []
    for product in products_of(names):
        charts = getattr(part(product, "report"), "CHARTS", {})
        found += [
            Analysis(product.name, name, said[name], sql, charts.get(name))
            for name, sql in of_product(product).items()
        ]
    return found


def charted(rows: pa.Table) -> Chart | None:
    """A picture for rows of which none is declared: the first amount, or number, by what is before.

    None where no column is a number, or none comes before it.
    """
    kinds = {field.name: holds_numbers(field.type) for field in rows.schema}
    numbers = [name for name, is_number in kinds.items() if is_number]
    labels: list[str] = []
    for name, is_number in kinds.items():
        if is_number:
            break
        labels.append(name)
    if not numbers or not labels:
        return None
    return Chart(tuple(labels[:2]), _MONEY if _MONEY in numbers else numbers[0])


def bars(rows: pa.Table, chart: Chart, most: int = 100) -> list[Bar]:
    """The first rows as bars; nothing where the rows lack a column of the chart."""
    names = {*chart.labels, chart.value, *filter(None, [chart.apart])}
    if not names.issubset(rows.schema.names):
        return []
    found = rows.select([*names]).slice(0, most).to_pylist()
    tops: dict[Any, Decimal] = {}
    for row in found:
        scale = row.get(chart.apart)
        tops[scale] = max(tops.get(scale, Decimal(0)), abs(_amount(row[chart.value])))
    return [_bar(row, chart, tops[row.get(chart.apart)]) for row in found]


def drawn(share: float, width: int) -> str:
    """A bar of so many characters at most, to an eighth of one."""
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def lines(found: list[Bar], width: int) -> Iterator[str]:
    """Bars as text of a width: label, value, bar; a value is never cut."""
    if not found:
        return
    value = max(len(bar.value) for bar in found)
    label = min(max(len(bar.label) for bar in found), max(12, width - value - 14))
    room = max(4, width - label - value - 4)
    for bar in found:
        name = bar.label if len(bar.label) <= label else f"{bar.label[: label - 1]}…"
        yield f"{name:<{label}}  {bar.value:>{value}}  {drawn(bar.share, room)}"


def _bar(row: Mapping[str, Any], chart: Chart, top: Decimal) -> Bar:
    amount = _amount(row[chart.value])
    label = " ".join(_label(row[name], name) for name in chart.labels)
    share = float(abs(amount) / top) if top else 0.0
    scale = _label(row[chart.apart], chart.apart) if chart.apart else ""
    return Bar(label, cell(row[chart.value], chart.value), share, amount < 0, scale)


def _label(value: Any, column: str) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return cell(value, column) or "–"


def _amount(value: Any) -> Decimal:
    amount = Decimal(value) if isinstance(value, int | float | Decimal) else Decimal(0)
    return amount if amount.is_finite() else Decimal(0)


def holds_numbers(kind: pa.DataType) -> bool:
    """Whether values of this kind can be drawn as amounts."""
    import pyarrow as pa  # noqa: PLC0415  # a list of analyses is made without Arrow

    return bool(
        pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind)
    )
