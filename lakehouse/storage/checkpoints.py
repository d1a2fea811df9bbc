"""Checkpoints, read here before an engine reads them: some kilobytes may unpack to any size.

delta-rs holds all that a checkpoint adds, and its end is the process's where it gets no memory.
So each is read once, a part at a time. What was found whole is remembered in the user's state
folder while nothing has touched the file: later looks cost a stat.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from lakehouse.core.errors import LakehouseError
from lakehouse.core.files import distrust, write_whole
from lakehouse.core.own import make_folder, state_folder
from lakehouse.core.text import one_line
from lakehouse.core.within import Outside

LARGEST = 1024 * 1024 * 1024
"""Bytes, as Arrow has them, of a version's checkpoint: one of half a million files has as many."""
_MOST = LARGEST // 1024
"""Rows of a checkpoint: such as say nothing take no bytes, and time all the same."""
_ROWS = 16
"""Read at a time: one value of theirs may be megabytes in the dictionary of a small file."""
_KNOWN, _MANY = "checkpoints.json", 5_000


def checkpoint_size(path: Path, *, again: bool = False) -> int:
    """Bytes that a checkpoint's file unpacks to; ``again`` reads it though it is remembered.

    Raises Outside where that is too much, or where it names further files, and ValueError where
    it cannot be read.
    """
    about = path.stat()
    place = os.path.abspath(path)  # noqa: PTH100  # as it is named: nothing is looked up
    mark = [about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]
    known = _known().get(place, [])
    if not again and known[:-1] == mark:
        return known[-1]
    size = _read(path)
    _remember(place, [*mark, size])
    return size


def _read(path: Path) -> int:
    import pyarrow as pa  # noqa: PLC0415  # a table without checkpoints is listed without Arrow
    import pyarrow.parquet as pq  # noqa: PLC0415  # as above

    size = 0
    try:
        with pq.ParquetFile(path) as file:
            if (rows := file.metadata.num_rows) > _MOST:
                raise Outside(str(path), f"has {rows:,} rows, more than a checkpoint has")
            for batch in file.iter_batches(_ROWS, use_threads=False):
                size += batch.nbytes
                if size > LARGEST:
                    raise Outside(str(path), _large(size))
                if _has_sidecars(batch):
                    raise Outside(str(path), "is a checkpoint that names further files")
    except MemoryError:
        raise Outside(str(path), _large(LARGEST)) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        told = one_line(error, 80)
        raise ValueError(f"the checkpoint cannot be read: {told}") from None
    return size


def _large(size: int) -> str:
    return f"unpacks to {size:,} bytes or more, which no checkpoint has"


def _has_sidecars(batch: Any) -> bool:
    columns = zip(batch.schema.names, batch.columns, strict=True)
    return any(name == "sidecar" and held.null_count < len(held) for name, held in columns)


@cache
def _known() -> dict[str, list[int]]:
    """Files that were found whole, here and in earlier processes: their marks, and their size."""
    path = state_folder() / _KNOWN
    try:
        if any(distrust(place.stat()) for place in (path.parent, path)):
            return {}
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: nobody's home is known
        return {}
    return (
        {k: v for k, v in found.items() if isinstance(v, list)} if isinstance(found, dict) else {}
    )


def _remember(place: str, found: list[int]) -> None:
    """Where nothing can be written, or another process does, it is read again next time."""
    known = _known()
    known[place] = found
    for old in [*known][:-_MANY]:
        del known[old]
    with suppress(OSError, LakehouseError, RuntimeError):
        make_folder(state_folder())
        write_whole(state_folder() / _KNOWN, json.dumps(known).encode(), 0o600)
