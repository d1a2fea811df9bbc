"""What bronze gained between two versions, read from its Delta log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.core.errors import TableDamaged
from lakehouse.storage.entries import ODD, action_of, entry_fault, lines_of
from lakehouse.storage.file_paths import local_path
from lakehouse.storage.log import entry as entry_of


@dataclass(frozen=True)
class Increment:
    """Rows that bronze gained after one version, up to another: files, or the rows at hand."""

    version: int
    files: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    """The version that added each file; empty where all of bronze is read."""
    rows: pa.Table | None = None
    part: int = 0
    is_last: bool = True
    """Whether bronze is applied up to the version with it: all of bronze comes in parts."""


def increments(uri: str, after: int, upto: int, max_rows: int) -> Iterator[Increment]:
    """The versions after ``after`` up to ``upto``, in steps of about ``max_rows`` rows.

    Commits that only compact add nothing. Raises FileNotFoundError where the log
    no longer has a version, or where a file was compacted and then removed, and
    TableDamaged where rows were removed: all ask for a fold from nothing.
    """
    files: list[str] = []
    versions: list[int] = []
    rows = 0
    for version in range(after + 1, upto + 1):
        for added, count in _added(uri, version):
            files.append(added)
            versions.append(version)
            rows += count
        if rows >= max_rows or version == upto:
            yield Increment(version, tuple(files), tuple(versions))
            files, versions, rows = [], [], 0


def _added(uri: str, version: int) -> Iterator[tuple[str, int]]:
    entry = entry_of(uri, version)
    if entry.exists() and (fault := entry_fault(entry, version)):
        raise TableDamaged(str(entry), fault, "silver is folded again")
    try:
        actions = [action_of(line) for line in lines_of(entry)]
        removes = any(action.removes_rows() for action in actions)
        adds = [add for action in actions if (add := action.added()) and add.data_change]
    except ODD:
        raise TableDamaged(
            str(entry), "has an action that does not fit", "silver is folded again"
        ) from None
    if removes:
        raise TableDamaged(uri, f"rows were removed in version {version}", "silver is folded again")
    for add in adds:
        path = local_path(uri, add.path)
        if not path.exists():
            raise FileNotFoundError(path)
        yield str(path), add.rows()


def rows_between(uri: str, after: int, upto: int) -> int | None:
    """How many rows the versions after one, up to another, added; None where nobody can tell."""
    try:
        return sum(rows for v in range(after + 1, upto + 1) for _, rows in _added(uri, v))
    except (FileNotFoundError, TableDamaged):
        return None


def parts(files: Sequence[str], most: int) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Files in parts of about ``most`` rows; with each the rows so far, and those of all.

    A file is not divided. Of no files there is one part, which is empty.
    """
    sizes = [int(pq.read_metadata(file).num_rows) for file in files]
    total = sum(sizes)
    part: list[str] = []
    done = rows = 0
    for file, size in zip(files, sizes, strict=True):
        if part and size and rows + size > most:
            yield tuple(part), done, total
            part, rows = [], 0
        part.append(file)
        done, rows = done + size, rows + size
    yield tuple(part), total, total
