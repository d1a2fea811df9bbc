"""Finds the products that are declared, ours and other packages', and looks at each alone."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import lakehouse.products
from lakehouse.core.errors import DeclarationError, LakehouseError
from lakehouse.model.product import Product
from lakehouse.products.declared import check
from lakehouse.products.declared_sinks import check_sinks

GROUP = "lakehouse.products"
NEEDED = {
    "audit": "CHECKS", "report": "REPORT", "source": "live", "verbs": "commands", "demo": "demo",
    "checks": "checks",
}  # fmt: skip
"""What the modules that a product names must have."""


@dataclass(frozen=True)
class Found:
    """Where a product is declared: the folder's or entry point's name, the place, what loads it."""

    name: str
    place: str
    load: Callable[[], object]


@dataclass(frozen=True)
class Broken:
    """A product that is left out, every name that may mean it, and why."""

    name: str
    names: frozenset[str]
    error: LakehouseError

    def told(self) -> str:
        """What is said of it, once."""
        return f"{self.error}\n  product {self.name!r} is left out"


def collect(found: Iterable[Found]) -> tuple[dict[str, Product], dict[str, Broken]]:
    """Products by name, each checked; and by place those of which one cannot be used."""
    known: dict[str, Product] = {}
    wrong: dict[str, Broken] = {}
    for one in found:
        product: object = None
        try:
            product = one.load()
            sound = _checked(product, one.place, known)
            known[sound.name] = sound
        except LakehouseError as error:
            wrong[one.place] = Broken(one.name, frozenset({one.name, *names_of(product)}), error)
    return known, wrong


def _checked(product: object, place: str, known: dict[str, Product]) -> Product:
    """The product, if it holds together beside those that are known; else DeclarationError."""
    if not isinstance(product, Product):
        raise DeclarationError(
            place, f"is {type(product).__name__}, and no Product",
            "name a lakehouse.model.product.Product, as in 'mypackage:PRODUCT'",
        )  # fmt: skip
    try:
        check(product, place, known.values())
        check_sinks(product)
    except (TypeError, AttributeError, ValueError) as error:  # a part of another kind
        raise DeclarationError(
            place, f"cannot be checked: {type(error).__name__}: {error}",
            "give each part of the Product the type that lakehouse.model.product says",
        ) from error  # fmt: skip
    return product


def names_of(product: object) -> Iterator[str]:
    """What a product and its contracts are called, as far as it says so."""
    contracts = getattr(product, "contracts", ())
    for one in (product, *(contracts if isinstance(contracts, tuple) else ())):
        if isinstance(name := getattr(one, "name", None), str):
            yield name


def ours() -> Iterator[Found]:
    for found in pkgutil.iter_modules(lakehouse.products.__path__, "lakehouse.products."):
        if found.ispkg:
            yield Found(found.name.rpartition(".")[2], found.name, partial(_of_ours, found.name))


def _of_ours(module: str) -> object:
    return getattr(loaded(module, module), "PRODUCT", None)


def theirs() -> Iterator[Found]:
    """What the entry points of installed packages name, and where each is declared."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        place = f"entry point {entry.name} = {entry.value}"
        yield Found(entry.name, place, partial(_of_theirs, entry, place))


def _of_theirs(entry: EntryPoint, place: str) -> object:
    if not entry.pattern.match(entry.value):
        raise DeclarationError(place, "names no module", "write it as in 'mypackage:PRODUCT'")
    module, name = loaded(place, entry.module), entry.attr or "PRODUCT"
    if not hasattr(module, name):
        where = getattr(module, "__file__", None) or ", ".join(module.__path__)
        raise DeclarationError(
            place, f"{where} has no {name}",
            "name the product in it; a folder of the module's name in the current one hides "
            "the module: start elsewhere",
        )  # fmt: skip
    return getattr(module, name)


def loaded(place: str, name: str) -> ModuleType:
    """A module by its name; whatever its code raises is a fault of the declaration."""
    try:
        return importlib.import_module(name)
    except DeclarationError:
        raise
    except (Exception, SystemExit) as error:
        raise DeclarationError(
            place, f"cannot be loaded: {type(error).__name__}: {error}",
            f"mend the module {name}, or remove the package that names it",
        ) from error  # fmt: skip
