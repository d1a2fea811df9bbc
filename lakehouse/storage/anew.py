"""A table that was made beside another one takes its place.

Readers see the old rows until one commit puts the new ones there; a crash leaves the
old ones, or the new.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from lakehouse.core.paths import Lake
from lakehouse.core.within import Within
from lakehouse.settings.settings import Settings
from lakehouse.storage.table import Table


def swap(lake: Lake, settings: Settings, name: str, new: Table, *, readable: bool) -> None:
    """Put the new rows in the old ones' place; the folder, where the old one is of no use."""
    uri = lake.table(name)
    note = {"source": new.last_note("source"), "flow": new.last_note("flow")}
    if readable and _columns(uri) == _columns(new.uri):
        held = Table.open(uri, new.schema, settings, partition_by=new.partition_by)
        held.replace(_rows(new), None, note)
        return
    if Path(uri).exists():
        _move(lake, Path(uri), lake.aside(name))
    _move(lake, Path(new.uri), Path(uri))


def _move(lake: Lake, path: Path, to: Path) -> None:
    root = Path(lake.root).absolute()
    found, wanted = (Within.of(root, str(place.relative_to(root))) for place in (path, to))
    found.move(wanted)


def _columns(uri: str) -> list[tuple[str, Any]]:
    """Names and types: a table of an earlier release has less room for sums."""
    return [(field.name, field.type) for field in DeltaTable(uri).schema().fields]


def _rows(table: Table) -> pa.RecordBatchReader:
    """A table's rows, a batch at a time, in its own schema."""
    found = QueryBuilder().register("t", table.dt).execute("SELECT * FROM t")
    names = table.schema.names

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in pa.RecordBatchReader.from_stream(found):
            rows = pa.Table.from_batches([batch]).select(names).cast(table.schema)
            yield from rows.to_batches()

    return pa.RecordBatchReader.from_batches(table.schema, batches())
