"""Another package's product, as an installer leaves it: modules, and an entry point beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from lakehouse.products import registry

CACHED = (registry._known, registry.flows, registry.sections_of_products)


def install(site: Path, name: str, value: str, modules: Mapping[str, str]) -> None:
    """Write a package's modules and its entry point ``name = value`` into a folder of packages."""
    info = site / f"their_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: their-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lakehouse.products]\n{name} = {value}\n")
    for module, code in modules.items():
        (site / f"{module}.py").write_text(code, "utf-8")


@contextmanager
def registered(site: Path) -> Iterator[None]:
    """What is installed there is among the products, until the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        _forget()
        yield
    _forget()


def _forget() -> None:
    for function in CACHED:
        function.cache_clear()
    registry._broken.clear()
