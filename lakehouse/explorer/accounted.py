"""What a demo shows at its end: key figures, and what was sent against what is found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.format import Format
from lakehouse.explorer.report import of_product
from lakehouse.explorer.show import Wide, printed
from lakehouse.explorer.sql import Reader
from lakehouse.products.registry import product
from lakehouse.settings.sections import ExplorerSettings

_MOST = 10
"""Rows of key figures: `lakehouse report` has all."""


@dataclass(frozen=True)
class Line:
    """One kind of event: how many there must be, and how many are where they belong."""

    what: str
    place: str
    due: int | str
    found: int | str
    is_of_a_kind: bool = False
    """Whether it is one way to break the contract: they have a line together too."""

    @property
    def holds(self) -> bool:
        """Whether the two agree."""
        return self.due == self.found


def show_account(lines: Sequence[Line]) -> None:
    """The lines as a table on stdout; those of one kind only where they differ."""
    rows = [
        {
            "what": line.what, "where it belongs": line.place, "due": line.due,
            "found": line.found, "": "ok" if line.holds else "DIFFERS",
        }
        for line in lines
        if not (line.is_of_a_kind and line.holds)
    ]  # fmt: skip
    sys.stdout.write(printed({"produced_=_landed": rows}, Format.table, Wide.FEWER))


def show_section(
    name: str,
    of: str,
    catalogue: Catalogue,
    settings: ExplorerSettings,
    views: Mapping[str, str],
    columns: Sequence[str] = (),
) -> None:
    """The first rows of one section of a product's report on stdout, of these columns or all."""
    sql = of_product(product(of))[name]
    with Reader(catalogue, settings, [sql], views) as reader:
        rows = reader.ask(sql).rows.slice(0, _MOST)
    rows = rows.select(columns or rows.schema.names)
    sys.stdout.write(printed({name: rows}, Format.table, Wide.FEWER))
