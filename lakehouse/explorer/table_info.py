"""One table in figures: rows, files, bytes, version, and which version of bronze it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.storage.file_paths import dated_files

if TYPE_CHECKING:
    from deltalake import DeltaTable


@dataclass(frozen=True)
class TableInfo:
    """One table: size in rows, files and bytes, and its newest commit.

    ``rows`` is None if a file has no statistics. ``source`` is the bronze version that a
    silver table has applied, and ``as_of`` the time when bronze committed it.
    """

    name: str
    rows: int | None
    files: int
    bytes: int
    version: int
    committed: str
    partitions: str
    source: int | None = None
    as_of: str = ""


def info_of_delta(
    name: str, table: DeltaTable, newest: Mapping[str, Any] | None, source: Mapping[str, Any]
) -> TableInfo:
    """Of a Delta table as it was opened; its newest commit, and what that says of bronze."""
    adds = table.get_add_actions(flatten=True)
    return TableInfo(
        name=name,
        rows=_rows(adds),
        files=adds.num_rows,
        bytes=sum(int(n) for n in adds["size_bytes"].to_pylist()),
        version=int(table.version()),
        committed=time_text(newest["timestamp"]) if newest else "",
        partitions=", ".join(table.metadata().partition_columns),
        source=source.get("version"),
        as_of=time_text(source["time"]) if source.get("time") else "",
    )


def info_of_files(name: str, folder: Path) -> TableInfo:
    """Of plain Parquet files by date; TableDamaged where one of them is not readable."""
    import pyarrow.parquet as pq  # noqa: PLC0415  # Delta tables are listed without Arrow

    from lakehouse.sinks.parquet_files import taken  # noqa: PLC0415  # a follower loads slowly
    from lakehouse.storage.faults import read_faults  # noqa: PLC0415  # it loads Arrow

    files, held = dated_files(folder), taken(folder)
    with read_faults(f"table {name}"):
        rows = sum(pq.read_metadata(file).num_rows for file in files)
    return TableInfo(
        name=name,
        rows=rows,
        files=len(files),
        bytes=sum(Path(file).stat().st_size for file in files),
        version=held.version if held else 0,
        committed=time_text(held.time) if held and held.time else "",
        partitions="date",
        source=held.version if held else None,
    )


def _rows(adds: Any) -> int | None:
    if "num_records" not in adds.schema.names:
        return None if adds.num_rows else 0
    counts = adds["num_records"].to_pylist()
    return None if None in counts else sum(int(n) for n in counts)


def time_text(milliseconds: int) -> str:
    """A commit's time as tables and histories show it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
