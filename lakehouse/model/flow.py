"""Flows and aggregates: frozen declarations. Making one runs nothing.

Expressions are SQL that DuckDB and Spark both read, over the rows of bronze
that are not duplicates, under the name ``rows``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lakehouse.model.named import NamedFlow
from lakehouse.model.sink import SinkFlow
from lakehouse.model.window import Session, Window

Combine = Literal["sum", "min", "max", "sketch_union"]
MONEY = "DECIMAL(38,4)"
"""Of sums of money: 10^12 lines of the greatest price and quantity are below 10^33."""
UNITS = "DECIMAL(38,0)"
"""Of sums of quantities: 10^12 of the greatest are 10^21, more than 64 bits hold."""


@dataclass(frozen=True)
class Measure:
    """A number that adds up: ``sql`` makes it from rows, ``combine`` joins two of them."""

    sql: str
    type: str
    combine: Combine
    doc: str


@dataclass(frozen=True)
class Finer:
    """A finer table, one row per distinct key; distinct counts are its row counts.

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


def sketch_of(text: str, doc: str) -> Measure:
    """A HyperLogLog sketch of the different texts: see :mod:`lakehouse.silver.sketch`."""
    return Measure(f"sketch_of(list(DISTINCT {text}))", "BLOB", "sketch_union", doc)


@dataclass(frozen=True)
class Estimate:
    """About how many different texts a sketch has seen; the name of that measure."""

    sketch: str
    doc: str


@dataclass(frozen=True)
class Exact:
    """How many different values a window has, counted exactly; null where it has none.

    Which values a window has is kept until it is final, a hash of 128 bits each. So no late
    event can correct it.
    """

    of: str
    """Expression over ``rows``."""
    doc: str
    setting: str = ""
    """The key of the product's section, true or false, that asks for it: else it is null."""


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
    estimates: Mapping[str, Estimate] | None = None
    exact: Mapping[str, Exact] | None = None
    """Of an aggregate by window."""
    slice: Mapping[str, str] | None = None
    explode: str = ""
    partition: str = ""
    docs: Mapping[str, str] | None = None
    """Key → what it says."""
    having: str = "true"
    """Which rows stay; where measures may fall, a key that nothing is left of goes."""
    of_changes: bool = False
    """In a flow with a latest by key: whether it folds every change, as bronze has them, and not
    the signed rows that entered and left ``current``."""
    window: Window | None = None
    """Whose windows its rows are: :meth:`Window.over` sets it, with all that follows from it."""


@dataclass(frozen=True)
class Keyed:
    """Latest by key: the state that each key's latest change left, and one column's history.

    The rows of bronze are changes, ordered by ``order`` and never by arrival. Table
    ``current`` has one row per key that is not deleted. ``history`` has one row per run of
    changes with the same value of ``follows`` (``gone`` for a delete), and keeps every change
    of the run, so that a late change finds its place. Both are partitioned by ``block``; only
    the blocks that new rows touch are read and written.

    Aggregates of the flow fold its signed rows: ``columns`` and ``sign``, +1 for a row
    that came into ``current`` and -1 for one that left it; unless they are ``of_changes``.
    """

    key: str
    order: str
    time: str
    follows: str
    columns: Mapping[str, tuple[str, str]]
    """Column → (expression over bronze, SQL type); key, order, time and follows among them."""
    block: str
    """Expression: a whole number, the same for a key always."""
    where: str
    """Which rows of bronze are changes."""
    deleted: str
    """Which of them delete their key."""
    docs: Mapping[str, str]
    gone: str = "deleted"
    current: str = "current"
    history: str = "history"


@dataclass(frozen=True)
class BronzeFlow(NamedFlow):
    """Kafka topic → ``bronze.<product>`` and ``quarantine.<product>``."""

    kind = "bronze"

    @property
    def tables(self) -> tuple[str, ...]:
        """Those of landing."""
        layers = ("bronze", "erased", "ledger", "quarantine")
        return tuple(f"{layer}.{self.product}" for layer in layers)


@dataclass(frozen=True)
class SilverFlow(NamedFlow):
    """New versions of ``bronze.<product>`` → its silver tables, as one group."""

    kind = "silver"
    aggregates: tuple[Aggregate, ...]
    keyed: Keyed | None = None
    sessions: tuple[Session, ...] = ()

    def table(self, name: str) -> str:
        """The table of an aggregate or a finer table: ``silver.shop_by_country``."""
        return f"silver.{self.product}_{name}"

    @property
    def finers(self) -> tuple[Finer, ...]:
        """The finer tables that the aggregates count, each once."""
        found: dict[str, Finer] = {}
        for aggregate in self.aggregates:
            for distinct in (aggregate.distinct or {}).values():
                found[distinct.finer.name] = distinct.finer
        return tuple(found.values())

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of every table that the flow writes, the coarser before the finer."""
        finer = [finer.name for finer in self.finers]
        finer += [c.finer for a in self.aggregates for c in (a.favourite or {}).values()]
        keyed = [self.keyed.history, self.keyed.current] if self.keyed else []
        sessions = [session.name for session in self.sessions]
        names = [*(a.name for a in self.aggregates), *finer, *keyed, *sessions]
        return tuple(map(self.table, names))

    @property
    def follows_time(self) -> bool:
        """Whether the watermark changes its tables."""
        return bool(self.sessions) or any(a.window for a in self.aggregates)


@dataclass(frozen=True)
class ParquetFlow(NamedFlow):
    """Rows of ``bronze.<product>`` → plain Parquet files, a folder a date.

    For readers that know no Delta: ``<root>/lake/<product>/date=YYYY-MM-DD/``.
    """

    kind = "parquet"
    columns: tuple[str, ...]
    date: str
    """Expression: the UTC date that a row belongs to."""
    where: str
    """Which rows land; copies never do."""
    doc: str
    folder: str = "date"
    """What the folders are named by, and the column that readers make of them."""

    @property
    def table(self) -> str:
        """What the writer locks: ``lake.shop``."""
        return f"lake.{self.product}"

    @property
    def tables(self) -> tuple[str, ...]:
        """All that the flow writes."""
        return (self.table,)


FollowerFlow = SilverFlow | ParquetFlow
"""A flow that follows bronze's versions."""
Flow = BronzeFlow | FollowerFlow | SinkFlow
