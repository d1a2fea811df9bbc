"""What a folder of plain Parquet files says of itself: its applied version, and its files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
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
            "remove the folder: the files are rebuilt from bronze",
        ) from None  # fmt: skip


def files_at(folder: Path, version: int) -> list[str]:
    """The files that a reader finds there, but those of versions above: they are being written."""
    return [path for path in dated_files(folder) if _version_of(path) <= version]


def strays(folder: Path, newest: Callable[[], int]) -> list[str]:
    """Files that no flow wrote and :func:`files_at` leaves out; readers of the folder do not.

    They are in no date's folder, are not named as Parquet, or are of a version above bronze's
    ``newest``, which is asked for after they were listed. Those that begin with a dot or an
    underscore, and what is in such folders, nobody reads.
    """
    dated, found = dated_files(folder), []
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "._"]
        found += [str(Path(above, name)) for name in files if name[0] not in "._"]
    last = newest()
    return sorted({*found} - {*dated} | {path for path in dated if _version_of(path) > last})


def _version_of(path: str) -> int:
    """The version that a file is named by; -1 where it is named by none."""
    named = _NAME.fullmatch(Path(path).name)
    return int(named[1]) if named else -1
