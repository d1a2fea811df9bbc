"""Every product there is, found where it lies and checked before anything of it runs.

Ours are the folders beside this file. Another package's come by its entry points of the
group ``lakehouse.products``; each names a :class:`lakehouse.model.product.Product`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import lakehouse.products
from lakehouse.core.errors import DeclarationError, LakehouseError, UsageError
from lakehouse.core.failpoint import VARIABLE, Step
from lakehouse.model.contract import Contract
from lakehouse.model.flow import BronzeFlow, Flow
from lakehouse.model.product import Product
from lakehouse.products.declared import check
from lakehouse.products.declared_sinks import check_sinks

if TYPE_CHECKING:
    from lakehouse.settings.sections import ProductSettings
    from lakehouse.settings.settings import Settings

GROUP = "lakehouse.products"


@cache
def products() -> dict[str, Product]:
    """Name → product: the main one, ours, then those of other packages, by name.

    DeclarationError where one cannot be loaded, or does not hold together.
    """
    found = collect([*_ours(), *theirs()])
    return dict(sorted(found.items(), key=lambda item: not item[1].is_main))


def collect(found: Iterable[tuple[str, object]]) -> dict[str, Product]:
    """Products by name, of (where it was found, what was found there); each is checked."""
    known: dict[str, Product] = {}
    for place, product in found:
        if not isinstance(product, Product):
            raise DeclarationError(
                place, f"is {type(product).__name__}, and no Product",
                "name a lakehouse.model.product.Product, as in 'mypackage:PRODUCT'",
            )  # fmt: skip
        check(product, place, known.values())
        check_sinks(product)
        known[product.name] = product
    return known


def product(name: str) -> Product:
    """The product of this name, or a UsageError listing those there are."""
    if name not in products():
        raise UsageError(f"product {name!r}", "is not known", f"use one of {', '.join(products())}")
    return products()[name]


def contracts() -> dict[str, Contract]:
    """Name → contract, of every product; its bronze and quarantine have the same name."""
    return {c.name: c for p in products().values() for c in p.contracts}


def contract(name: str) -> Contract:
    """The contract of this name, or a UsageError listing those there are."""
    if name not in contracts():
        raise UsageError(
            f"product {name!r}", "is not known", f"use one of {', '.join(contracts())}"
        )
    return contracts()[name]


def contracts_of(name: str) -> list[str]:
    """Names of the contracts that a name means: every one of that product, or that one alone."""
    if name in products():
        return [c.name for c in products()[name].contracts]
    return [contract(name).name]


def bronze_of(table: str) -> str | None:
    """The bronze that a declared table follows: ``bronze.shop`` of ``silver.shop_by_day``."""
    followers = (f for p in products().values() for f in p.flows if not isinstance(f, BronzeFlow))
    return next((f"bronze.{f.product}" for f in followers if table in f.tables), None)


def to_make(table: str) -> str:
    """The remedy where a declared table is not there; empty of one that nobody declares."""
    layer, _, name = (bronze_of(table) or table).partition(".")
    if layer not in {"bronze", "quarantine", "erased"} or name not in contracts():
        return ""
    found = owner(name)
    demo = f"`lakehouse demo{'' if found.is_main else f' {found.name}'}` or " if found.demo else ""
    return f"run {demo}`lakehouse up {found.name}`, or name the lake by --root"


def owner(name: str) -> Product:
    """The product that a contract is of."""
    return next(p for p in products().values() if contract(name) in p.contracts)


@cache
def flows() -> tuple[Flow, ...]:
    """Every declared flow; DeclarationError where SQL of one cannot run."""
    from lakehouse.products.bound import check_sql  # noqa: PLC0415  # DuckDB loads slowly

    check_sql(*products().values())
    return tuple(f for p in products().values() for f in p.flows)


@cache
def sections_of_products() -> dict[str, type[ProductSettings]]:
    """Name → class of the section, one a contract."""
    return {c.name: _section(p, c) for p in products().values() for c in p.contracts}


def load_settings(path: Path | None = None) -> Settings:
    """config.ini and the environment, with a section for every product."""
    from lakehouse.settings.settings import load  # noqa: PLC0415  # help reads no setting

    return load(sections_of_products(), path, steps=steps() if VARIABLE in os.environ else ())


def steps() -> list[str]:
    """Names of every failpoint: the engine's, then those of each product's source."""
    enums: list[type[StrEnum]] = [Step, *(_steps(p) for p in products().values() if p.steps)]
    return [step.value for enum in enums for step in enum]


def _steps(product: Product) -> type[StrEnum]:
    place = f"product {product.name!r}, steps"
    kind = _named(place, product.steps)
    if not (isinstance(kind, type) and issubclass(kind, StrEnum)):
        raise DeclarationError(
            place, f"{product.steps} is no StrEnum", "make it one, as producers.cdc.steps has it"
        )
    return kind


def part(product: Product, name: str) -> ModuleType | None:
    """The module that a product names as its ``report``, ``demo`` and so on; None without one."""
    module = getattr(product, name)
    return _loaded(f"product {product.name!r}, {name}", module) if module else None


def _section(product: Product, contract: Contract) -> type[ProductSettings]:
    from lakehouse.settings.sections import ProductSettings  # noqa: PLC0415  # help reads none

    said = product.sections.get(contract.name)
    if not said:
        return ProductSettings.of(contract.name)
    place = f"product {product.name!r}"
    kind: object = said
    if isinstance(kind, str):
        kind = _named(f"{place}, settings", kind)
    if not (isinstance(kind, type) and issubclass(kind, ProductSettings)):
        raise DeclarationError(
            place, f"settings = {getattr(said, '__name__', said)} is no section",
            "make it a class of lakehouse.settings.sections.ProductSettings",
        )  # fmt: skip
    return kind


def _named(place: str, text: str) -> object:
    """What ``module:name`` names; None where the module lacks it."""
    module, _, name = text.partition(":")
    return getattr(_loaded(place, module), name, None)


def _ours() -> Iterator[tuple[str, object]]:
    for found in pkgutil.iter_modules(lakehouse.products.__path__, "lakehouse.products."):
        if found.ispkg:
            yield found.name, getattr(_loaded(found.name, found.name), "PRODUCT", None)


def theirs() -> Iterator[tuple[str, object]]:
    """What the entry points of installed packages name, and where each is declared."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        place = f"entry point {entry.name} = {entry.value}"
        module, name = _loaded(place, entry.module), entry.attr or "PRODUCT"
        if not hasattr(module, name):
            where = getattr(module, "__file__", None) or ", ".join(module.__path__)
            raise DeclarationError(
                place, f"{where} has no {name}",
                "name the product in it; a folder of the module's name in the current one hides "
                "the module: start elsewhere",
            )  # fmt: skip
        yield place, getattr(module, name)


def _loaded(place: str, name: str) -> ModuleType:
    """A module by its name; whatever its code raises is a fault of the declaration."""
    try:
        return importlib.import_module(name)
    except LakehouseError:
        raise
    except Exception as error:
        raise DeclarationError(
            place, f"cannot be loaded: {type(error).__name__}: {error}",
            f"mend the module {name}, or remove the package that names it",
        ) from error  # fmt: skip
