"""Where a table's data files are on disk; it loads no Arrow, so that a listing need not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lakehouse.core.within import check_file, check_folders, relative

if TYPE_CHECKING:
    from deltalake import DeltaTable


def local_path(table: str | Path, name: str) -> Path:
    """The file that a table's log calls ``name``: there it is percent-encoded.

    Raises Outside where it may lie anywhere but below the table.
    """
    return Path(table, relative(table, name, encoded=True))


def dated_files(folder: Path) -> list[str]:
    """Plain Parquet files by date; Outside where one is no file below the folder.

    As every reader of such a folder does, it leaves out what begins with a dot or an underscore.
    """
    files = sorted(str(path) for path in folder.glob("*=*/[!._]*.parquet"))
    check_folders(folder, files)
    for file in files:
        check_file(file)
    return files


def dated_by(file: str) -> str:
    """The name of the column that a plain Parquet file's folder is named by."""
    return Path(file).parent.name.partition("=")[0]


def files_of(table: DeltaTable) -> list[str]:
    """Paths of a local table's data files, as they are on disk.

    delta-rs gives them below a folder that is percent-encoded, and themselves decoded.
    Raises Outside where one is no file below the table: a link, a pipe, or elsewhere.
    """
    told = table.table_uri.removeprefix("file://")
    folder = unquote(told)
    names = [relative(folder, uri.removeprefix(told)) for uri in table.file_uris()]
    files = [str(Path(folder, name)) for name in names]
    check_folders(folder, files)
    for file in files:
        check_file(file)
    return files
