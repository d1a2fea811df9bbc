"""Sinks: what a product sends on to other systems. Frozen declarations; making one runs nothing.

A sink runs in a thread of its own, reads what is committed and holds nothing back: where its
system is away it waits, and the flows go on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lakehouse.model.named import NamedFlow


@dataclass(frozen=True)
class PostgresTable:
    """A Delta table of silver → a table in Postgres, row by row.

    Its columns and types are those of the Delta table. ``name`` is without a schema: the
    database's ``search_path`` says where it lies.
    """

    source: str
    """The Delta table: ``silver.shop_by_country``."""
    name: str
    key: tuple[str, ...]
    """Its primary key: columns of silver that are never null."""
    indexes: tuple[tuple[str, ...], ...] = ()
    without: tuple[str, ...] = ()
    """Columns of silver that Postgres does not get."""


@dataclass(frozen=True)
class PostgresSink(NamedFlow):
    """Silver tables of a product → tables in the database that [postgres] names."""

    kind = "postgres"
    into: tuple[PostgresTable, ...]

    @property
    def handed(self) -> set[str]:
        """The silver tables whose rows it takes before their turn."""
        return {table.source for table in self.into}

    def place(self, table: PostgresTable) -> str:
        """A table of it as the audit and messages name it: ``postgres.page_view_counts``."""
        return f"postgres.{table.name}"


@dataclass(frozen=True)
class KafkaSink(NamedFlow):
    """Rows of ``bronze.<product>`` that are no duplicates → a Kafka topic, each once.

    A record's value is JSON: the event's fields, ``processing_time``, the address of the
    record that it came from, and ``columns``.
    """

    kind = "enriched"
    topic: str
    """Its name, unless settings say another."""
    key: str
    """Expression over ``rows``: the record's key, as text."""
    where: str = "true"
    setting: str = ""
    """The key of the product's section that names the topic; without one it is ``topic``."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column → expression over ``rows``, and what ``join`` joins to them."""
    join: str = ""
    """Joins to ``rows`` that keep each row once, of the names in ``states``."""
    states: Mapping[str, str] = field(default_factory=dict)
    """Name in ``join`` → silver table: rows are sent once that table has applied their version."""
    floors: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Name in ``states`` → (column of its table, expression over ``rows``): what is below the least
    of an increment's values adds nothing to any of its rows. Files of nothing else are not read."""
    touched: Collection[str] = ()
    """Names in ``states`` of which a row is joined only with what its own batch changed there: it
    is sent once that batch is folded, and nothing else of the table is read."""

    @property
    def handed(self) -> set[str]:
        """The silver tables whose rows it takes before their turn."""
        return {self.states[name] for name in self.touched}


SinkFlow = PostgresSink | KafkaSink
"""A flow that sends on what the lake has."""
