"""Whether a product's declarations hold together: names and fields, without any engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from importlib.util import find_spec

import msgspec

from lakehouse.core.errors import DeclarationError
from lakehouse.model.contract import Contract, base_type, has_offset, kind_of, may_be_null
from lakehouse.model.flow import Aggregate, BronzeFlow, Flow, SilverFlow
from lakehouse.model.product import Product
from lakehouse.settings.names import FREE_SECTIONS, SECTIONS

NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
PARTS = ("recompute", "audit", "report", "source", "verbs", "demo", "checks")
"""The modules that a product may name."""
ADDED = (
    "extra", "topic", "partition", "offset", "kafka_time", "ingest_time", "batch_id", "watermark",
    "is_late", "is_duplicate", "event_date", "verdict", "key", "value", "headers",
)  # fmt: skip
"""Columns that every bronze has of its own, or every decoded row."""
TYPES = "str, int, Decimal, datetime and Literal of texts"


def check(product: Product, place: str, others: Iterable[Product]) -> None:
    """Raise DeclarationError where names are bad or taken, or name what is not there."""
    others = list(others)
    for contract in product.contracts:
        if not isinstance(contract, Contract):
            raise DeclarationError(
                place, f"contracts has {contract!r}, which is no Contract",
                "wrap the event: Contract(name=..., version=1, event=...)",
            )  # fmt: skip
    names = [c.name for c in product.contracts]
    if not names or names[0] != product.name:
        raise DeclarationError(
            place, f"the first contract of product {product.name!r} is {(names or ['none'])[0]!r}",
            "give it the product's name",
        )  # fmt: skip
    taken = {c.name: f"product {o.name!r}" for o in others for c in o.contracts}
    taken |= dict.fromkeys([*SECTIONS, *FREE_SECTIONS], "a section of config.ini")
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
    parts = {what: getattr(product, what) for what in PARTS}
    for name in product.sections:
        _must_know(name, names, f"{place}, settings", "contract")
    sections = {f"settings of {name!r}": named for name, named in product.sections.items()}
    for what, named in (*sections.items(), ("steps", product.steps)):
        if isinstance(named, str):
            parts[what] = named.partition(":")[0]
    for what, module in parts.items():
        if module and not _is_there(module):
            raise DeclarationError(
                f"{place}, {what}", f"there is no module {module!r}",
                "name a module that can be imported, as in 'mypackage.report'",
            )  # fmt: skip


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package that it lies in
        return False


def _check_contract(contract: Contract, place: str) -> None:
    event = contract.event
    if not (isinstance(event, type) and issubclass(event, msgspec.Struct)):
        raise DeclarationError(
            place, f"its event is {event!r}, and no msgspec.Struct",
            "write class MyEvent(msgspec.Struct, kw_only=True, gc=False)",
        )  # fmt: skip
    if event.__struct_encode_fields__ != event.__struct_fields__:
        raise DeclarationError(
            place, "its event renames fields", "give the fields the names that records have"
        )
    _each_once(contract.hints, f"{place}, fields")
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
        if (
            name not in contract.required
            or base_type(contract.hints[name]) is not kind
            or may_be_null(contract.hints[name])
        ):
            raise DeclarationError(
                place, f"has no {name!r}, a {kind.__name__} that every event must have",
                "declare it: copies are known by event_id, lateness by event_time",
            )  # fmt: skip
    for name, hint in contract.hints.items():
        if base_type(hint) is datetime and not has_offset(hint):
            raise DeclarationError(
                place, f"field {name!r} is a time that need not say its offset",
                "write Annotated[datetime, Meta(tz=True)]",
            )  # fmt: skip
    wholes = [name for name, hint in contract.hints.items() if base_type(hint) is int]
    for name in contract.nonzero:
        _must_know(name, wholes, f"{place}, nonzero", "whole-number field")
    if contract.person:
        texts = [name for name, hint in contract.hints.items() if base_type(hint) is str]
        _must_know(contract.person, texts, f"{place}, person", "text field")
    for name in contract.descriptions:
        _must_know(name, contract.hints, f"{place}, descriptions", "field")


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
            _check_sessions(flow, place)
    for name in (c.name for c in product.contracts if c.name not in landed):
        raise DeclarationError(
            place,
            f"no flow lands the contract {name!r}",
            f"add BronzeFlow({name.upper()}) to flows",
        )


def _check_aggregates(flow: SilverFlow, place: str) -> None:
    for finer in flow.finers:
        _check_name(finer.name, f"{place}, finer table of {flow.name}")
        _each_once(finer.keys, f"{place}, table {flow.table(finer.name)}")
    counted = [d.finer for a in flow.aggregates for d in (a.distinct or {}).values()]
    for finer in counted:
        if finer not in flow.finers:
            raise DeclarationError(
                f"{place}, table {flow.table(finer.name)}", "two finer tables have this name",
                "give one of them another name, or let both counts use one Finer",
            )  # fmt: skip
    for aggregate in flow.aggregates:
        _check_name(aggregate.name, f"{place}, table of {flow.name}")
        here = f"{place}, table {flow.table(aggregate.name)}"
        if not aggregate.keys or not aggregate.measures:
            missing = "measure" if aggregate.keys else "key"
            raise DeclarationError(
                here, f"has no {missing}", "declare keys, and measures such as count(*)"
            )
        if aggregate.window and (aggregate.distinct or aggregate.favourite):
            raise DeclarationError(
                here, "has windows, and counts different values or chooses among them",
                "let it have measures, ratios and exact counts",
            )  # fmt: skip
        if aggregate.exact and (not aggregate.window or (flow.keyed and not aggregate.of_changes)):
            raise DeclarationError(
                here, "counts exactly what is kept for ever: it has no windows of bronze's rows",
                "make it Window(...).over(...), of_changes beside a latest by key; or use Distinct",
            )  # fmt: skip
        if aggregate.of_changes and (
            flow.keyed is None or aggregate.distinct or aggregate.favourite
        ):
            raise DeclarationError(
                here, "is of changes, without a latest by key or with more than measures",
                "let a flow that has keyed= have it, with measures and ratios",
            )  # fmt: skip
        if aggregate.explode and aggregate.slice is None:
            raise DeclarationError(
                here, "has explode without slice", "say in slice what rows are grouped by before"
            )
        given = (aggregate.keys, aggregate.measures, aggregate.distinct, aggregate.favourite)
        derived = (aggregate.ratios, aggregate.estimates, aggregate.exact)
        _each_once([n for names in (*given, *derived) for n in names or ()], here)
        for favourite in (aggregate.favourite or {}).values():
            _check_name(favourite.finer, f"{here}, favourite")
        _check_derived(aggregate, here)
        if aggregate.partition:
            _must_know(aggregate.partition, aggregate.keys, f"{here}, partition", "key")
        for name in aggregate.docs or {}:
            _must_know(name, aggregate.keys, f"{here}, docs", "key")


def _check_derived(aggregate: Aggregate, here: str) -> None:
    counts = {*aggregate.measures, *(aggregate.distinct or {})}
    for name, ratio in (aggregate.ratios or {}).items():
        for part in (ratio.numerator, ratio.denominator):
            _must_know(part, counts, f"{here}, ratio {name!r}", "measure or distinct count")
    for name, counted in (aggregate.estimates or {}).items():
        sketches = [n for n, m in aggregate.measures.items() if m.combine == "sketch_union"]
        _must_know(counted.sketch, sketches, f"{here}, estimate {name!r}", "sketch")


def _check_sessions(flow: SilverFlow, place: str) -> None:
    for session in flow.sessions:
        _check_name(session.name, f"{place}, table of {flow.name}")
        here = f"{place}, table {flow.table(session.name)}"
        others = session.columns.keys() - session.counts.keys()
        _each_once([*session.counts, *others], here)
        _must_know(session.key, flow.contract.required, f"{here}, key", "field that is never null")


def _each_once(names: Iterable[str], place: str) -> None:
    """Names of columns: letters, digits and '_', no two alike; SQL does not tell A from a."""
    known: set[str] = set()
    for name in names:
        if not COLUMN.fullmatch(name):
            raise DeclarationError(
                f"{place}, column {name!r}", "is no name of a column",
                "use a letter, then letters, digits and '_', at most 63 in all",
            )  # fmt: skip
        if name.lower() in known:
            raise DeclarationError(
                f"{place}, column {name!r}", "is declared twice, capitals not counted",
                "give one of the two another name",
            )  # fmt: skip
        known.add(name.lower())


def _check_name(name: str, place: str) -> None:
    if not NAME.fullmatch(name):
        raise DeclarationError(
            place, f"{name!r} is no name of a table",
            "use a small letter, then small letters, digits and '_', at most 50 in all",
        )  # fmt: skip


def _must_know(name: str, known: Iterable[str], place: str, what: str) -> None:
    if name not in known:
        raise DeclarationError(
            place, f"there is no {what} {name!r}", f"use one of {', '.join(sorted(known))}"
        )


def _tables(flow: Flow) -> tuple[str, ...]:
    return (f"bronze.{flow.product}",) if isinstance(flow, BronzeFlow) else flow.tables
