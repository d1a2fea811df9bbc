"""Opens the tables of a silver flow, and makes those that are missing."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from lakehouse.core.paths import Lake
from lakehouse.model.flow import Aggregate, Keyed, SilverFlow
from lakehouse.model.window import Session
from lakehouse.settings.settings import Settings
from lakehouse.silver.latest import keyed_schemas
from lakehouse.silver.render import ARROW, table_columns
from lakehouse.silver.sessions import session_schema
from lakehouse.storage.columns import add_missing_columns, widen_numbers
from lakehouse.storage.follower import Applied
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import set_retention

_MANY = 8
"""A flow has about so many tables: together they may leave as much as one of bronze."""


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
        self._flow, self._settings = flow, of_silver(settings)
        self._lake = Lake(settings.lake.root)

    def aggregate(self, aggregate: Aggregate) -> Table:
        """The table of an aggregate."""
        by = [aggregate.partition] if aggregate.partition else []
        table = self._table(aggregate.name, silver_schema(aggregate), aggregate.doc, by)
        if aggregate.exact:
            add_missing_columns(table)
        return table

    def finer(self, name: str, schema: pa.Schema) -> Table:
        """A table of distinct keys or units."""
        return self._table(name, schema, f"finer table of {self._flow.name}")

    def keyed(self, keyed: Keyed) -> tuple[Table, Table]:
        """The tables ``current`` and ``history``."""
        current, history = (
            self._table(name, schema, f"{name} of {self._flow.product}", ["block"])
            for name, schema in keyed_schemas(keyed).items()
        )
        return current, history

    def sessions(self, session: Session) -> Table:
        """The table of sessions."""
        return self._table(session.name, session_schema(session), session.doc, ["session_date"])

    def _table(
        self, name: str, schema: pa.Schema, description: str, partition_by: Sequence[str] = ()
    ) -> Table:
        table = Table.open(
            self._lake.table(self._flow.table(name)), schema, self._settings,
            partition_by=partition_by, description=description,
        )  # fmt: skip
        widen_numbers(table)
        set_retention(table)
        return table


def of_silver(settings: Settings) -> Settings:
    """The settings of silver's tables, whose old versions are kept for less time."""
    kept = settings.silver.versions_kept
    table = {
        name: min(kept, getattr(settings.table, name))
        for name in ("log_retention", "deleted_file_retention")
    }
    wait = min(settings.maintenance.vacuum_interval, kept / 4)
    old = settings.maintenance.old_mb and max(1, settings.maintenance.old_mb // _MANY)
    return settings.changed(table=table, maintenance={"vacuum_interval": wait, "old_mb": old})


def applied_of(table: Table) -> Applied | None:
    """The applied version, by the metadata of the table's newest commit."""
    return Applied.read(table.last_note("source"))
