"""Which tables our own log entries may be written to: those whose protocol asks nothing more.

An entry of ours adds and removes whole files. A table that wants row ids, times in the
commit, deletion vectors or checked values in it would be made invalid by such an entry,
in silence: its other readers would fail, or read what is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deltalake import DeltaTable

from lakehouse.core.errors import TableDamaged, UsageError
from lakehouse.storage.damage import table_name

_KNOWN = {
    "appendOnly", "invariants", "checkConstraints", "generatedColumns", "identityColumns",
    "changeDataFeed", "vacuumProtocolCheck",
}  # fmt: skip
"""Features that ask nothing of an entry of ours, unless a column or property uses them."""
_PROPERTIES = {"delta.enableRowTracking", "delta.enableInCommitTimestamps",
               "delta.enableDeletionVectors", "delta.enableIcebergCompatV1",
               "delta.enableIcebergCompatV2"}  # fmt: skip
_OF_COLUMNS = ("delta.invariants", "delta.generationExpression", "delta.identity.")


def check_protocol(table: DeltaTable, uri: str) -> None:
    """Raise TableDamaged where an entry of ours would not be valid in this table."""
    if odd := sorted({*_odd(table)}):
        raise TableDamaged(
            f"table {table_name(uri)}",
            f"another program gave it {', '.join(odd)}, which this program does not write",
            "restore the version before that, or a backup: lakehouse restore BACKUP",
        )


def check_removable(table: DeltaTable, uri: str) -> None:
    """Raise UsageError where somebody declared that no row may leave the table, or change."""
    if table.metadata().configuration.get("delta.appendOnly") == "true":
        raise UsageError(
            f"table {table_name(uri)}",
            "has the property delta.appendOnly: no row of it may be changed or removed",
            "set the property to false (ALTER TABLE … SET TBLPROPERTIES), then run it again",
        )


def is_odd(name: str, value: str) -> bool:
    """Whether a property with this value asks more of an entry than ours have."""
    value = value.lower()
    return (
        name.startswith("delta.constraints.")
        or (name in _PROPERTIES and value == "true")
        or (name == "delta.columnMapping.mode" and value != "none")
    )


def _odd(table: DeltaTable) -> Iterator[str]:
    protocol, configuration = table.protocol(), table.metadata().configuration
    if protocol.min_writer_version > 7:
        yield f"writer version {protocol.min_writer_version}"
    yield from {*(protocol.writer_features or []), *(protocol.reader_features or [])} - _KNOWN
    yield from (name for name, value in configuration.items() if is_odd(name, str(value)))
    for field in json.loads(table.schema().to_json())["fields"]:
        yield from _of_column(field["name"], field["metadata"])


def _of_column(name: str, metadata: dict[str, Any]) -> Iterator[str]:
    for key in metadata:
        if key.startswith(_OF_COLUMNS):
            yield f"{key.rstrip('.')} of column {name!r}"
