"""Whether a product's sinks are declared so that they can run."""

from __future__ import annotations

from collections.abc import Collection

from lakehouse.core.errors import DeclarationError
from lakehouse.model.flow import FollowerFlow
from lakehouse.model.product import Product
from lakehouse.model.sink import KafkaSink, PostgresSink, PostgresTable, SinkFlow


def check_sinks(product: Product) -> None:
    """Raise DeclarationError where a sink sends what no flow of the product makes.

    Columns are looked at when the sink first runs: its tables have them then.
    """
    followers = [flow for flow in product.flows if isinstance(flow, FollowerFlow)]
    made = {name for flow in followers for name in flow.tables}
    silver = {name for name in made if name.startswith("silver.")}
    names: set[str] = set()
    for flow in product.flows:
        if not isinstance(flow, SinkFlow):
            continue
        place = f"product {product.name!r}, flow {flow.name!r}"
        if flow.contract not in product.contracts:
            raise DeclarationError(place, "is of another product's contract", "use one of its own")
        for source in _sources(flow):
            _must_be(source, silver, place)
        if isinstance(flow, KafkaSink):
            for name in flow.touched:
                _must_be(name, flow.states, place)
        for table in flow.into if isinstance(flow, PostgresSink) else ():
            _check_table(table, place, names)


def _sources(flow: SinkFlow) -> list[str]:
    if isinstance(flow, KafkaSink):
        return [*flow.states.values()]
    return [table.source for table in flow.into]


def _must_be(source: str, silver: Collection[str], place: str) -> None:
    if source not in silver:
        raise DeclarationError(
            place, f"there is no table {source!r}", f"use one of {', '.join(sorted(silver))}"
        )


def _check_table(table: PostgresTable, place: str, names: set[str]) -> None:
    if not table.name or len(table.name.encode()) > 63 or table.name in names:
        raise DeclarationError(
            f"{place}, {table.source}", f"{table.name!r} is no name of a table of its own",
            "give each table another name, of at most 63 bytes",
        )  # fmt: skip
    names.add(table.name)
    if not table.key or {*table.key} & {*table.without}:
        raise DeclarationError(
            f"{place}, {table.source}", "has no key, or leaves a column of its key out",
            "name the columns that tell its rows apart",
        )  # fmt: skip
