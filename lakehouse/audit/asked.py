"""What the audit asks besides addresses, marks and tables: its own checks, and the product's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lakehouse.audit.bounds import bounds
from lakehouse.audit.check import Check, Scene
from lakehouse.audit.content import compare_content
from lakehouse.audit.fingerprints import fingerprints
from lakehouse.audit.from_kafka import recomputed_from_kafka
from lakehouse.audit.left_out import left_out
from lakehouse.audit.outside import outside_the_topic
from lakehouse.audit.watermarks import watermarks
from lakehouse.products.registry import owner, part

CHECKS: dict[str, Callable[[Scene], Check]] = {
    "fingerprints": fingerprints,
    "bounds": bounds,
    "watermarks": watermarks,
    "offsets": outside_the_topic,
    "content": compare_content,
    "windows and sessions": recomputed_from_kafka,
    "left out": left_out,
}
"""The engine's, by name, in this order."""


def checks_of(
    product: str, *, with_source: bool = False
) -> Iterator[tuple[str, Callable[[Scene], Check]]]:
    """Each check's name and function: the engine's, then those that the product declares."""
    yield from CHECKS.items()
    if module := part(owner(product), "audit"):
        yield from module.CHECKS.items()
        if with_source and has_source(product):
            yield "source", module.SOURCE


def has_source(product: str) -> bool:
    """Whether the product can be compared with what its events came from."""
    return hasattr(part(owner(product), "audit"), "SOURCE")
