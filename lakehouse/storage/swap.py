"""Replaces a table by one that was made beside it.

Readers see the old rows until one commit puts the new ones there; a crash leaves the
old ones, or the new.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from lakehouse.core.paths import Lake
from lakehouse.core.within import Within
from lakehouse.settings.settings import Settings
from lakehouse.storage.partitions import partition_values
from lakehouse.storage.rows import fitted_rows
from lakehouse.storage.table import Table


def swap(lake: Lake, settings: Settings, name: str, new: Table, *, readable: bool) -> None:
    """Replace the old rows by the new ones; the whole folder, where the old one cannot be used."""
    uri = lake.table(name)
    note = new.state()
    if readable and _columns(uri) == _columns(new.uri):
        held = Table.open(uri, new.schema, settings, partition_by=new.partition_by)
        held.replace(fitted_rows(new.uri, partition_values(new.dt), new.schema), note)
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
