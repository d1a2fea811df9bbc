"""Every product there is, found where it lies and checked before anything of it runs.

Ours are the folders beside this file. Another package's come by its entry points of the
group ``lakehouse.products``; each names a :class:`lakehouse.model.product.Product`. One that
cannot be loaded or does not hold together is left out: that is said once, and the others go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lakehouse.core.errors import DeclarationError, LakehouseError, UsageError
from lakehouse.core.failpoint import VARIABLE, Step
from lakehouse.core.signals import is_interrupt
from lakehouse.core.text import say
from lakehouse.model.contract import Contract
from lakehouse.model.flow import BronzeFlow, Flow
from lakehouse.model.product import Product
from lakehouse.products.declared import PARTS
from lakehouse.products.loading import NEEDED, Broken, collect, loaded, names_of, ours, theirs

if TYPE_CHECKING:
    from lakehouse.settings.sections import ProductSettings
    from lakehouse.settings.settings import Settings

_broken: dict[str, Broken] = {}
"""Place, or name of a product that was known → what was found wrong, so far."""


def products() -> dict[str, Product]:
    """Name → product: the main one, ours, then those of other packages, by name.

    Without those that cannot be loaded or do not hold together: see :func:`broken`.
    """
    return {name: p for name, p in _known().items() if name not in _broken}


def broken() -> tuple[Broken, ...]:
    """The products that are left out, as far as anything of them was asked for."""
    _known()
    return tuple(_broken.values())


@cache
def _known() -> dict[str, Product]:
    known, wrong = collect([*ours(), *theirs()])
    for place, one in wrong.items():
        _leave_out(place, one)
    return dict(sorted(known.items(), key=lambda item: not item[1].is_main))


@contextmanager
def leaving_out(product: Product) -> Iterator[None]:
    """Go on without this one product, from here on, where the block finds it declared wrong.

    Or where its own code, which the block calls, fails.
    """
    try:
        yield
    except DeclarationError as error:
        found: LakehouseError = error
    except (LakehouseError, MemoryError):
        raise
    except Exception as error:
        if is_interrupt(error):
            raise
        found = DeclarationError(
            f"product {product.name!r}", f"fails: {type(error).__name__}: {error}",
            "mend its modules, or remove the package that declares it",
        )  # fmt: skip
    else:
        return
    _leave_out(product.name, Broken(product.name, frozenset(names_of(product)), found))


def _leave_out(place: str, one: Broken) -> None:
    if place not in _broken:
        _broken[place] = one
        one.error.is_told = True
        say(one.told())


def must_be_whole(name: str) -> None:
    """What is wrong with the product that this name means, where it is left out."""
    for one in broken():
        if name in one.names and name not in products():
            raise one.error


def product(name: str) -> Product:
    """The product of this name, or a UsageError listing those there are.

    What is wrong with it where it is left out.
    """
    must_be_whole(name)
    if name not in products():
        raise UsageError(f"product {name!r}", "is not known", f"use one of {', '.join(products())}")
    return products()[name]


def contracts() -> dict[str, Contract]:
    """Name → contract, of every product; its bronze and quarantine have the same name."""
    return {c.name: c for p in products().values() for c in p.contracts}


def contract(name: str) -> Contract:
    """The contract of this name, or a UsageError listing those there are."""
    if name not in contracts():
        must_be_whole(name)
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


def models() -> set[str]:
    """The folders of products' models, as in ``models/shop``; of a broken one there may be some."""
    known = {p.models for p in products().values() if p.models}
    return known | {f"models/{name}" for one in broken() for name in one.names}


def owner(name: str) -> Product:
    """The product that a contract is of."""
    return next(p for p in products().values() if contract(name) in p.contracts)


@cache
def flows() -> tuple[Flow, ...]:
    """Every declared flow, of the products whose SQL can run."""
    from lakehouse.products.bound import check_sql  # noqa: PLC0415  # DuckDB loads slowly

    for p in products().values():
        with leaving_out(p):
            check_sql(p)
    return tuple(f for p in products().values() for f in p.flows)


@cache
def sections_of_products() -> dict[str, type[ProductSettings]]:
    """Name → class of the section, one a contract."""
    found: dict[str, type[ProductSettings]] = {}
    for p in products().values():
        with leaving_out(p):
            found |= {c.name: _section(p, c) for c in p.contracts}
    return found


def load_settings(path: Path | None = None) -> Settings:
    """config.ini and the environment, with a section for every product."""
    from lakehouse.settings.settings import load  # noqa: PLC0415  # help reads no setting

    known = sections_of_products()
    absent = {name for one in broken() for name in one.names if name not in known}
    return load(known, path, steps=steps() if VARIABLE in os.environ else (), absent=absent)


def steps() -> list[str]:
    """Names of every failpoint: the engine's, then those of each product's source."""
    enums: list[type[StrEnum]] = [Step]
    for p in products().values():
        with leaving_out(p):
            enums += [_steps(p)] if p.steps else []
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
    if not (named := getattr(product, name)):
        return None
    place = f"product {product.name!r}, {name}"
    module, needed = loaded(place, named), NEEDED.get(name, "__name__")
    if not hasattr(module, needed):
        raise DeclarationError(
            place, f"{named} has no {needed}", "write it as docs/your-own-product.md has it"
        )
    return module


def look_at_all() -> None:
    """Load and plan all that products declare: what is wrong with one is in :func:`broken` then."""
    flows()
    sections_of_products()
    steps()
    load_parts(*PARTS)


def load_parts(*names: str) -> None:
    """Load these modules of every product; one whose module fails is left out from here on."""
    for name in names:
        for _ in parts(name):
            pass


def parts(name: str) -> Iterator[tuple[Product, ModuleType]]:
    """Each product that names such a module, and the module; without those it fails in."""
    for p in products().values():
        with leaving_out(p):
            if module := part(p, name):
                yield p, module


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
    return getattr(loaded(place, module), name, None)
