"""What a product's page shows above its analyses: figures of now, and pictures over time.

A product's report declares ``FIGURES`` and ``SERIES``. Of one that declares none, each aggregate
whose only key is a time is drawn over time, and the figures count its events.
"""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.core.sql import identifier
from lakehouse.explorer.report import Series
from lakehouse.model.flow import Aggregate, SilverFlow
from lakehouse.model.product import Product
from lakehouse.products.registry import part

_TIMES = {"DATE", "TIMESTAMPTZ"}
_MOST = 400
"""So many moments of a picture that nobody declares."""


def figures(product: Product) -> Mapping[str, str]:
    """Title → SELECT of rows with ``value`` and, where there are such, ``unit`` and ``moment``.

    ``change_pct`` is against the period before the one that ``moment`` names.
    """
    module = part(product, "report")
    if declared := getattr(module, "FIGURES", None):
        return dict(declared)
    return {
        f"{contract.name}: events": "SELECT count(*) AS value, max(event_time) AS moment "
        f"FROM bronze.{identifier(contract.name)}"
        for contract in product.contracts
    }


def series(product: Product) -> Mapping[str, Series]:
    """Name → picture over time."""
    module = part(product, "report")
    if declared := getattr(module, "SERIES", None):
        return dict(declared)
    return {
        f"{flow.product}_{a.name}_over_time": found
        for flow in product.flows
        if isinstance(flow, SilverFlow)
        for a in flow.aggregates
        if (found := _guessed(flow, a))
    }


def _guessed(flow: SilverFlow, aggregate: Aggregate) -> Series | None:
    """An aggregate by a time alone, its counts over that; None of another."""
    times = [n for n, (_, kind) in aggregate.keys.items() if kind in _TIMES]
    if len(times) != len(aggregate.keys) or not times:
        return None
    counts = [n for n, m in aggregate.measures.items() if m.type == "BIGINT"]
    if not counts:
        return None
    values = tuple(counts[:2])
    listed = ", ".join(map(identifier, (times[0], *values)))
    sql = (
        f"SELECT {listed} FROM {flow.table(aggregate.name)} "
        f"ORDER BY {identifier(times[0])} DESC LIMIT {_MOST}"
    )
    sql = f"FROM ({sql}) ORDER BY {identifier(times[0])}"
    return Series(f"{' and '.join(values)}: {aggregate.doc}", sql, times[0], values)
