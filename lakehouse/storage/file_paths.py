"""Where a table's data files are on disk; it loads no Arrow, so that a listing need not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from deltalake import DeltaTable


def local_path(table: str | Path, name: str) -> Path:
    """The file that a table's log calls ``name``: there it is percent-encoded."""
    return Path(table, unquote(name))


def files_of(table: DeltaTable) -> list[str]:
    """Paths of a local table's data files, as they are on disk.

    delta-rs gives them below a folder that is percent-encoded, and themselves decoded.
    """
    folder = table.table_uri.removeprefix("file://")
    return [str(Path(unquote(folder), uri.removeprefix(folder))) for uri in table.file_uris()]
