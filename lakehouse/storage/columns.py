"""A table of an earlier release gets the columns, and the room, of today's schema."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import structlog
from deltalake import Schema as DeltaSchema
from deltalake.schema import PrimitiveType

from lakehouse.storage.committing import QUIET
from lakehouse.storage.partitions import partition_values
from lakehouse.storage.rows import fitted_rows
from lakehouse.storage.table import Table

_LOG = structlog.get_logger("lakehouse")


def add_missing_columns(table: Table) -> None:
    """Add the nullable columns of its schema that a table of an earlier release lacks."""
    held = {field.name for field in table.dt.schema().fields}
    lacking = pa.schema([field for field in table.schema if field.name not in held])
    if lacking.names:
        fields: list[Any] = list(DeltaSchema.from_arrow(lacking).fields)
        table.carrying_state(
            lambda commit: table.dt.alter.add_columns(
                fields, commit_properties=commit, post_commithook_properties=QUIET
            )
        )


def widen_numbers(table: Table) -> None:
    """Give decimal columns that had less room in an earlier release the room of its schema.

    Delta keeps one type for all files, so all rows are rewritten, in one commit
    that carries the table's state on. After a crash before it, the next start does it.
    """
    wanted = {field.name: field.type for field in DeltaSchema.from_arrow(table.schema).fields}
    narrow = [
        f"{field.name} {field.type.type}"
        for field in table.dt.schema().fields
        if isinstance(field.type, PrimitiveType)
        and field.type != wanted.get(field.name, field.type)
        and pa.types.is_decimal(table.schema.field(field.name).type)
    ]
    if narrow:
        reason = f"an earlier release gave sums less room: {', '.join(narrow)}"
        _LOG.warning("a table is rewritten", table=table.uri, reason=reason)
        parts = fitted_rows(table.uri, partition_values(table.dt), table.schema)
        table.replace(parts, table.state(), widened=True)
