"""The plain Parquet files of a product against bronze, row by row, at their applied version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lakehouse.audit.compare import Compared, check_names, compare_held, or_doubt
from lakehouse.audit.pins import Pin, Snapshots
from lakehouse.audit.topic import SAMPLE
from lakehouse.core.sql import identifier, listed
from lakehouse.model.flow import ParquetFlow
from lakehouse.model.recompute import Recompute
from lakehouse.sinks.parquet_files import files_at, strays, taken
from lakehouse.storage.duck import reads
from lakehouse.storage.log_health import Log

_COUNTED = "SELECT * FROM bronze_then WHERE NOT is_duplicate"
_ADDRESS = ("topic", "partition", "offset")


def compare_parquet(snapshots: Snapshots, flow: ParquetFlow, bronze: Pin) -> Compared:
    """Every column of the files; those of a version that is just being written are left out."""
    return or_doubt(snapshots, flow.table, lambda: _compare(snapshots, flow, bronze))


def _compare(snapshots: Snapshots, flow: ParquetFlow, bronze: Pin) -> Compared:
    folder = Path(snapshots.lake.table(flow.table))
    applied = taken(folder)  # before the files are listed: what is written since is above it
    if applied is None:
        return Compared(flow.table, doubt="does not exist (yet)")
    columns, date = listed(flow.columns), identifier(flow.folder)
    wanted = f"SELECT {columns}, {flow.date} AS {date} FROM counted WHERE {flow.where}"
    files = files_at(folder, applied.version)
    check_names(files, flow.columns)
    if files:
        found = reads(files, "hive_partitioning = true, union_by_name = true")
        held = f"SELECT {columns}, CAST({date} AS DATE) AS {date} FROM {found}"
    else:
        held = f"SELECT {columns}, {flow.date} AS {date} FROM bronze WHERE false"
    snapshots.view_files("held", held, files)
    keys = _ADDRESS if {*_ADDRESS} <= {*flow.columns} else (*flow.columns, flow.folder)
    recompute = Recompute(flow.table, keys, wanted, by="offset" if keys == _ADDRESS else "")
    uri = snapshots.lake.table(bronze.name)
    fault = _told(strays(folder, lambda: Log.of(uri).newest))
    table = Compared(flow.table, source=applied.version, fault=fault)
    return compare_held(snapshots, table, applied.bronze, _COUNTED, recompute, bronze)


def _told(found: Sequence[str]) -> str:
    """The fault of files that no flow wrote there."""
    if not found:
        return ""
    return (
        f"{len(found)} files that no flow wrote are read with it: remove them, or give them names "
        f"with a dot first: {', '.join(found[:SAMPLE])}"
    )
