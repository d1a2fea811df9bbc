"""A partition's values: as a table's log has them, and as the folders of its files do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.storage.file_paths import local_path

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def partition_values(table: DeltaTable) -> dict[str, dict[str, str | None]]:
    """Of each file, by its path, the partition's values as the log has them."""
    actions, folder = table.get_add_actions(), unquote(table.table_uri)
    paths = [
        str(local_path(folder.removeprefix("file://"), p)) for p in actions["path"].to_pylist()
    ]
    if "partition" not in actions.schema.names:
        return {path: {} for path in paths}
    rows = pa.chunked_array(actions["partition"]).to_pylist()  # pa.table would load pandas
    return {
        path: {name: logged(value) for name, value in dict(row).items()}
        for path, row in zip(paths, rows, strict=True)
    }


def logged(value: Any) -> str | None:
    """A partition's value as a log writes it."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def encoded(value: str | None) -> str:
    """As the folder of a data file has it."""
    return NULL_PARTITION if value is None else quote(value, safe=" ")
