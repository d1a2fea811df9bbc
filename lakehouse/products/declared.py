"""Whether a product's declarations hold together: names and fields, without any engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from lakehouse.core.errors import DeclarationError
from lakehouse.model.contract import Contract, base_type, kind_of
from lakehouse.model.flow import BronzeFlow, Flow, SilverFlow
from lakehouse.model.product import Product
from lakehouse.settings.reading import FREE_SECTIONS
from lakehouse.settings.settings import sections

NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
ADDED = (
    "extra", "topic", "partition", "offset", "kafka_time", "ingest_time", "batch_id", "watermark",
    "is_late", "is_duplicate", "event_date", "verdict", "key", "value", "headers",
)  # fmt: skip
"""Columns that every bronze has of its own, or every decoded row."""
TYPES = "str, int, Decimal, datetime and Literal of texts"


def check(product: Product, place: str, others: Iterable[Product]) -> None:
    """Raise DeclarationError where names are bad or taken, or name what is not there."""
    others = list(others)
    names = [c.name for c in product.contracts]
    if not names or names[0] != product.name:
        raise DeclarationError(
            place, f"the first contract of product {product.name!r} is {(names or ['none'])[0]!r}",
            "give it the product's name",
        )  # fmt: skip
    taken = {c.name: f"product {o.name!r}" for o in others for c in o.contracts}
    taken |= dict.fromkeys([*sections({}), *FREE_SECTIONS], "a section of config.ini")
    for contract in product.contracts:
        if not NAME.fullmatch(contract.name):
            raise DeclarationError(
                place, f"{contract.name!r} is no name of a product",
                "use a small letter, then small letters, digits and '_', at most 50 in all",
            )  # fmt: skip
        if contract.name in taken:
            raise DeclarationError(
                place, f"the name {contract.name!r} is taken by {taken[contract.name]}",
                "give the product another name",
            )  # fmt: skip
        taken[contract.name] = f"product {product.name!r} itself"
        _check_contract(contract, f"{place}, contract {contract.name!r}")
    _check_flows(product, place, others)


def _check_contract(contract: Contract, place: str) -> None:
    for name, hint in contract.hints.items():
        try:
            kind_of(hint)
        except KeyError:
            raise DeclarationError(
                place, f"field {name!r} is {base_type(hint)!r}, which bronze has no column for",
                f"use {TYPES}",
            ) from None  # fmt: skip
        if name in ADDED:
            raise DeclarationError(
                place, f"field {name!r} has the name of a column that bronze adds",
                "give the field another name",
            )  # fmt: skip
    for name, kind in (("event_id", str), ("event_time", datetime)):
        if name not in contract.required or base_type(contract.hints[name]) is not kind:
            raise DeclarationError(
                place, f"has no {name!r}, a {kind.__name__} that every event must have",
                "declare it: copies are known by event_id, lateness by event_time",
            )  # fmt: skip
    named = {"nonzero": contract.nonzero, "descriptions": contract.descriptions}
    if contract.person:
        texts = [name for name, hint in contract.hints.items() if base_type(hint) is str]
        _must_know(contract.person, texts, f"{place}, person", "text field")
    for what, fields in named.items():
        for name in fields:
            _must_know(name, contract.hints, f"{place}, {what}", "field")


def _check_flows(product: Product, place: str, others: Iterable[Product]) -> None:
    taken = {t: o.name for o in others for f in o.flows for t in _tables(f)}
    landed = {f.contract.name for f in product.flows if isinstance(f, BronzeFlow)}
    for flow in product.flows:
        here = f"{place}, flow {flow.name!r}"
        if flow.contract not in product.contracts:
            raise DeclarationError(
                here, "is of a contract that the product does not list", "add it to contracts"
            )
        if flow.product not in landed:
            raise DeclarationError(
                here, f"follows bronze.{flow.product}, which no flow of the product lands",
                f"add BronzeFlow({flow.product.upper()}) to its flows",
            )  # fmt: skip
        for table in _tables(flow):
            if table in taken:
                raise DeclarationError(
                    here, f"the table {table} is declared already, by {taken[table]!r}",
                    "give one of the two another name",
                )  # fmt: skip
            taken[table] = product.name
        if isinstance(flow, SilverFlow):
            _check_aggregates(flow, place)


def _check_aggregates(flow: SilverFlow, place: str) -> None:
    for aggregate in flow.aggregates:
        here = f"{place}, table {flow.table(aggregate.name)}"
        counts = {*aggregate.measures, *(aggregate.distinct or {})}
        for name, ratio in (aggregate.ratios or {}).items():
            for part in (ratio.numerator, ratio.denominator):
                _must_know(part, counts, f"{here}, ratio {name!r}", "measure or distinct count")
        if aggregate.partition:
            _must_know(aggregate.partition, aggregate.keys, f"{here}, partition", "key")
        for name in aggregate.docs or {}:
            _must_know(name, aggregate.keys, f"{here}, docs", "key")


def _must_know(name: str, known: Iterable[str], place: str, what: str) -> None:
    if name not in known:
        raise DeclarationError(
            place, f"there is no {what} {name!r}", f"use one of {', '.join(sorted(known))}"
        )


def _tables(flow: Flow) -> tuple[str, ...]:
    return (f"bronze.{flow.product}",) if isinstance(flow, BronzeFlow) else flow.tables
