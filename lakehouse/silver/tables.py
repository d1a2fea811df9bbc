"""The tables of a silver flow, each opened, and made where it is missing."""

from __future__ import annotations

import pyarrow as pa

from lakehouse.core.paths import Lake
from lakehouse.model.flow import Aggregate, Keyed, SilverFlow
from lakehouse.settings.settings import Settings
from lakehouse.silver.latest import keyed_schemas
from lakehouse.silver.render import ARROW, table_columns
from lakehouse.storage.columns import widen_numbers
from lakehouse.storage.follower import Applied
from lakehouse.storage.table import Table


def silver_schema(aggregate: Aggregate) -> pa.Schema:
    """The Arrow schema of a silver table; its keys are never null."""
    return pa.schema(
        [
            pa.field(name, ARROW[kind], nullable=name not in aggregate.keys)
            for name, kind in table_columns(aggregate).items()
        ]
    )


class SilverTables:
    """Opens the tables of one flow in one lake."""

    def __init__(self, flow: SilverFlow, settings: Settings) -> None:
        self._flow, self._settings = flow, settings
        self._lake = Lake(settings.lake.root)

    def aggregate(self, aggregate: Aggregate) -> Table:
        """The table of an aggregate."""
        table = Table.open(
            self._lake.table(self._flow.table(aggregate.name)),
            silver_schema(aggregate),
            self._settings,
            partition_by=[aggregate.partition] if aggregate.partition else [],
            description=aggregate.doc,
        )
        widen_numbers(table)
        return table

    def finer(self, name: str, schema: pa.Schema) -> Table:
        """A table of state."""
        table = Table.open(
            self._lake.table(self._flow.table(name)), schema, self._settings,
            description=f"finer table of {self._flow.name}",
        )  # fmt: skip
        widen_numbers(table)
        return table

    def keyed(self, keyed: Keyed) -> tuple[Table, Table]:
        """The tables ``current`` and ``history``."""
        current, history = (
            Table.open(
                self._lake.table(self._flow.table(name)), schema, self._settings,
                partition_by=["block"], description=f"{name} of {self._flow.product}",
            )
            for name, schema in keyed_schemas(keyed).items()
        )  # fmt: skip
        return current, history


def applied_of(table: Table) -> Applied | None:
    """What a table's newest commit says that it has applied."""
    return Applied.read(table.last_note("source"))
