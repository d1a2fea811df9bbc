"""Flows and aggregates: frozen declarations. Making one runs nothing.

Expressions are SQL that DuckDB and Spark both read, over the rows of bronze
that are not duplicates, under the name ``rows``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Combine = Literal["sum", "min", "max"]


@dataclass(frozen=True)
class Measure:
    """A number that adds up: ``sql`` makes it from rows, ``combine`` joins two of them."""

    sql: str
    type: str
    combine: Combine
    doc: str


@dataclass(frozen=True)
class Finer:
    """A finer table, one row a distinct key, that distinct counts are row counts of.

    ``keys`` are column → expression; ``entity`` is the column that is counted;
    ``where`` says which rows count. A key expression named ``event_time`` is
    truncated time, so that coarser keys can be computed from it.
    """

    name: str
    keys: Mapping[str, str]
    entity: str
    where: str
    doc: str


@dataclass(frozen=True)
class Distinct:
    """A distinct count: how many entities of a finer table a key has."""

    finer: Finer
    doc: str


@dataclass(frozen=True)
class Favourite:
    """The value of ``of`` with the most ``units`` for an aggregate's key; ties: the smallest.

    ``finer`` is the table (the aggregate's keys, ``of``) → units that the choice is
    made from. Units never fall (only sold ones count), so the new favourite is
    among the old one and the pairs that new rows touched.
    """

    finer: str
    of: str
    units: str
    where: str
    doc: str


@dataclass(frozen=True)
class Ratio:
    """A decimal quotient at scale 4, rounded half up; null where the divisor is 0."""

    numerator: str
    denominator: str
    doc: str


@dataclass(frozen=True)
class Aggregate:
    """A declared silver table: keys, measures that add up, and what derives from them.

    ``explode`` is a join that multiplies rows (one copy a grain, say), made after
    rows are grouped by ``slice``: the columns that the keys need, and their expressions.
    ``partition`` names a key that the table is partitioned by: only the
    partitions that new rows touch are written.
    """

    name: str
    keys: Mapping[str, tuple[str, str]]
    """Column → (expression, SQL type)."""
    measures: Mapping[str, Measure]
    doc: str
    where: str = "true"
    distinct: Mapping[str, Distinct] | None = None
    favourite: Mapping[str, Favourite] | None = None
    ratios: Mapping[str, Ratio] | None = None
    slice: Mapping[str, str] | None = None
    explode: str = ""
    partition: str = ""
    docs: Mapping[str, str] | None = None
    """Key → what it says."""


@dataclass(frozen=True)
class BronzeFlow:
    """Kafka topic → ``bronze.<product>`` and ``quarantine.<product>``."""

    product: str

    @property
    def name(self) -> str:
        """As given to ``lakehouse run``: ``sales.bronze``."""
        return f"{self.product}.bronze"


@dataclass(frozen=True)
class SilverFlow:
    """New versions of ``bronze.<product>`` → its silver tables, as one group."""

    product: str
    aggregates: tuple[Aggregate, ...]

    @property
    def name(self) -> str:
        """As given to ``lakehouse run``: ``sales.silver``."""
        return f"{self.product}.silver"

    def table(self, name: str) -> str:
        """The table of an aggregate or a finer table: ``silver.sales_by_country``."""
        return f"silver.{self.product}_{name}"

    @property
    def finers(self) -> tuple[Finer, ...]:
        """The finer tables that the aggregates count, each once."""
        found: dict[str, Finer] = {}
        for aggregate in self.aggregates:
            for distinct in (aggregate.distinct or {}).values():
                found[distinct.finer.name] = distinct.finer
        return tuple(found.values())


Flow = BronzeFlow | SilverFlow
