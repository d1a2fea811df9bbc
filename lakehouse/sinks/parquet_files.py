"""What a folder of plain Parquet files says of itself: its applied version, and its files."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from lakehouse.core.errors import TableDamaged
from lakehouse.core.within import Within
from lakehouse.storage.file_paths import dated_files
from lakehouse.storage.follower import Applied

TAKEN = "_taken.json"
NO_DATE = "__HIVE_DEFAULT_PARTITION__"
"""What DuckDB, Spark and Arrow read as a null in a folder's name."""
_NAME = re.compile(r"v(\d+)(?:-\d+)?\.parquet")


def taken(folder: Path) -> Applied | None:
    """What the files of a folder say of themselves; None where there are none yet."""
    try:
        return msgspec.json.decode(Within(folder, TAKEN).data(), type=Applied)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TableDamaged(
            str(folder / TAKEN), "is not what the writer of the files wrote",
            "remove the folder: the files are made anew from bronze",
        ) from None  # fmt: skip


def files_at(folder: Path, version: int) -> list[str]:
    """The files that a reader finds there, but those of versions above: they are being written."""
    found = []
    for path in dated_files(folder):
        named = _NAME.fullmatch(Path(path).name)
        if named is None or int(named[1]) <= version:
            found.append(path)
    return found
