"""What is wrong with a local Delta table's files, found before anything relies on them.

Both engines open a log whose entry is empty, or cut at the end of a line, as if
nothing were amiss, and delta-rs one whose first entry is gone: rows vanish in
silence. So the log's files are looked at whenever a table is opened.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import TableDamaged
from lakehouse.core.paths import check_columns, root_option
from lakehouse.core.within import Outside, check_file, check_folders
from lakehouse.storage.entries import commit_info_of, entry_fault, metadata_fault
from lakehouse.storage.file_paths import local_path

_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\..*)?\.parquet")
HINT = "_last_checkpoint"
T = TypeVar("T")
_LOOKS, _PAUSE = 20, 0.05
"""How often a log that changes is looked at again, and the seconds in between."""


@dataclass(frozen=True)
class Damage:
    """One fault: where, what, and how far the table can be gone back to.

    ``whole`` is the newest version that can still be opened, None where there is
    none; ``spare`` are files that the table is whole without.
    """

    place: str
    fault: str
    whole: int | None = None
    spare: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Log:
    """The entries and checkpoints in a table's log, by version."""

    folder: Path
    entries: dict[int, Path]
    checkpoints: dict[int, list[Path]]

    @classmethod
    def of(cls, uri: str) -> Log:
        """What the folder lists."""
        folder = Path(uri, "_delta_log")
        for place in (*folder.parents[1::-1], folder):
            if place.is_symlink():
                raise Outside(str(place), "is a link, and no folder of a lake")
        entries: dict[int, Path] = {}
        checkpoints: dict[int, list[Path]] = {}
        for path in _files_in(folder):
            if found := _ENTRY.fullmatch(path.name):
                entries[int(found[1])] = path
            elif found := _CHECKPOINT.fullmatch(path.name):
                checkpoints.setdefault(int(found[1]), []).append(path)
        return cls(folder, entries, checkpoints)

    @property
    def newest(self) -> int:
        """The newest version that any file tells of; -1 where none does."""
        return max([*self.entries, *self.checkpoints], default=-1)

    def opened_before(self, version: int) -> int | None:
        """The version before, where these files can tell what it is."""
        start = max((v for v in self.checkpoints if v < version), default=-1)
        is_whole = all(v in self.entries for v in range(start + 1, version))
        return version - 1 if version and is_whole else None


def _files_in(folder: Path) -> list[Path]:
    """What a log's folder holds; Outside where a reader of it would follow a link, or wait."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                check_file(entry.path)
        return [Path(entry.path) for entry in entries]
    return []


def table_name(uri: str) -> str:
    """``bronze.shop`` of the folder ``<root>/bronze/shop``."""
    return ".".join(uri.rstrip("/").rsplit("/", 2)[-2:])


def check_log(uri: str) -> None:
    """Raise TableDamaged, with the command that mends it, where the log is not whole."""
    if found := log_damage(uri):
        raise damaged(uri, found[0])


def newest(uri: str) -> DeltaTable:
    """A table at its newest version, its log and its files found whole; or else TableDamaged.

    A version whose files a writer removes meanwhile is no longer the newest: it is opened anew.
    Raises DeltaError where it cannot be opened.
    """
    check_log(uri)
    opened: list[DeltaTable] = []

    def lacking() -> dict[str, str]:
        opened[:] = [loaded(uri, None)]
        return lacking_files(opened[0], uri)

    if found := unmoved(uri, lacking):
        raise damaged(uri, files_damage(uri, found))
    check_columns(uri, (field.name for field in opened[0].schema().fields))
    return opened[0]


def loaded(uri: str, version: int | None) -> DeltaTable:
    """A table at a version, or its newest, whose log holds files alone.

    DeltaError where it cannot be opened, TableDamaged where an action of it does not fit.
    """
    Log.of(uri)
    try:
        return DeltaTable(uri, version=version)
    except ValueError as error:  # a partition's value is lacking, or is none of its type
        raise damaged(uri, Damage(uri, _misfit(error))) from None


def _misfit(error: Exception) -> str:
    return f"its log has an action that does not fit: {' '.join(str(error).split())[:200]}"


def opened(uri: str) -> DeltaTable:
    """As :func:`newest`; where the table cannot be opened, TableDamaged too."""
    try:
        return newest(uri)
    except DeltaError as error:
        fault = " ".join(str(error).split())[:300]
        raise damaged(uri, Damage(uri, f"cannot be opened: {fault}")) from None


def damaged(uri: str, found: Damage) -> TableDamaged:
    """The error that a damage is reported as: silver is rebuilt, other tables are repaired."""
    name, root = table_name(uri), Path(uri).parents[1]
    verb = "rebuild" if name.startswith("silver.") else "repair"
    return TableDamaged(
        f"table {name}",
        f"{found.place}: {found.fault}",
        f"lakehouse {verb} {name} {root_option(root)}",
    )


def log_damage(uri: str, *, deep: bool = False) -> list[Damage]:
    """What is wrong with the log, the gravest first; checkpoints are read whole where ``deep``.

    A writer may add a checkpoint, or remove old entries, between two looks at the folder:
    what is found holds for a log that stayed as it was.
    """
    return unmoved(uri, lambda: list(_log_damage(uri, deep))) or []


def unmoved(uri: str, look: Callable[[], T]) -> T:
    """What ``look`` finds wrong with a local table whose log stays as it is; else it looks again.

    Nothing wrong is told at once. Raises what ``look`` raises, by the same rule.
    """
    for last in (*[False] * _LOOKS, True):
        before = _listing(uri)
        try:
            if not (found := look()):
                return found
        except (DeltaError, OSError):
            if last or _is_still(uri, before):
                raise
        else:
            if last or _is_still(uri, before):
                return found
    raise AssertionError("the last look returns or raises")


def _is_still(uri: str, before: frozenset[tuple[str, int, int]]) -> bool:
    time.sleep(_PAUSE)  # a checkpoint that is being written grows meanwhile
    return _listing(uri) == before


def _listing(uri: str) -> frozenset[tuple[str, int, int]]:
    """Name, size and time of each file of the log."""
    found = set()
    folder = Path(uri, "_delta_log")
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # it was removed since it was listed
            about = path.stat()
            found.add((path.name, about.st_size, about.st_mtime_ns))
    return frozenset(found)


def _log_damage(uri: str, deep: bool) -> Iterator[Damage]:
    log = Log.of(uri)
    if log.newest < 0:
        if any(Path(uri).rglob("*.parquet")):
            yield Damage(str(log.folder), "the table has data files and no log")
        return
    base, broken = -1, []
    for version, parts in sorted(log.checkpoints.items(), reverse=True):
        faults = [(part, fault) for part in parts if (fault := _checkpoint_fault(part, deep))]
        if not faults:
            base = version
            break
        broken += faults
    yield from _entry_damage(log, base)
    if deep:
        yield from _metadata_damage(log, base)
    for part, fault in broken:
        yield Damage(str(part), fault, log.newest, (part, log.folder / HINT))
    hint = log.folder / HINT
    if hint.is_file() and hinted(hint) not in {None, *log.checkpoints}:
        yield Damage(str(hint), "it names a checkpoint that is not there", log.newest, (hint,))


def whole_checkpoints(uri: str) -> list[int]:
    """Versions that a local log can be read from, without what came before."""
    found = Log.of(uri).checkpoints.items()
    return [
        v for v, parts in found if not any(_checkpoint_fault(part, deep=False) for part in parts)
    ]


def oldest_version(uri: str) -> int:
    """The oldest version that a table can be restored to, by its log; 0 where that is not known."""
    log = Log.of(uri)
    return 0 if 0 in log.entries else min(whole_checkpoints(uri), default=0)


def _entry_damage(log: Log, base: int) -> Iterator[Damage]:
    for version in range(base + 1, log.newest + 1):
        path = log.folder / f"{version:020}.json"
        fault = entry_fault(path, version, whole=version == log.newest)
        if fault:
            before = version - 1 if version > 0 else None
            place = "the newest commit" if version == log.newest else f"of {log.newest} commits one"
            yield Damage(str(path), f"{place} {fault}", before)
            return


def _metadata_damage(log: Log, base: int) -> Iterator[Damage]:
    """Metadata that does not fit in commits that a checkpoint holds too, the newest first."""
    for version in sorted((v for v in log.entries if v <= base), reverse=True):
        path = log.entries[version]
        if fault := metadata_fault(commit_info_of(path)):
            yield Damage(str(path), f"the commit {fault}", log.opened_before(version))


def _checkpoint_fault(path: Path, deep: bool) -> str:
    import pyarrow as pa  # noqa: PLC0415  # a table without checkpoints is listed without Arrow
    import pyarrow.parquet as pq  # noqa: PLC0415  # as above

    try:
        pq.read_table(path) if deep else pq.read_metadata(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"the checkpoint cannot be read: {' '.join(str(error).split())[:80]}"
    return ""


def hinted(hint: Path) -> int | None:
    """The version that ``_last_checkpoint`` names; None where it cannot be read, as engines do."""
    try:
        return int(json.loads(hint.read_bytes())["version"])
    except (ValueError, KeyError, TypeError, OSError):
        return None


def lacking_files(table: DeltaTable, uri: str) -> dict[str, str]:
    """Data files of this version, as the log writes them, that are not whole → what is wrong."""
    found = {}
    try:
        actions = table.get_add_actions(flatten=True)
        names, sizes = actions["path"].to_pylist(), actions["size_bytes"].to_pylist()
    except ValueError as error:  # a name is no UTF-8, or a value none of its type
        raise damaged(uri, Damage(uri, _misfit(error))) from None
    paths = [local_path(uri, name) for name in names]
    check_folders(uri, paths)
    for name, path, size in zip(names, paths, sizes, strict=True):
        try:
            there = path.lstat()
        except OSError:
            found[name] = "is missing"
        else:
            if not stat.S_ISREG(there.st_mode):
                check_file(path)
            if there.st_size != size:
                found[name] = f"has {there.st_size:,} of {size:,} bytes"
    return found


def broken_files(table: DeltaTable, uri: str, whole: set[str] | None = None) -> dict[str, str]:
    """Data files that are not whole, or have a page that is not what was written → what is wrong.

    All pages are read, but for those of files in ``whole``, which gains what is found so.
    """
    from lakehouse.storage.checksums import corrupt_files  # noqa: PLC0415  # it loads Arrow

    whole = set() if whole is None else whole
    found = lacking_files(table, uri)
    names = table.get_add_actions()["path"].to_pylist()
    read = {str(local_path(uri, n)): n for n in names if n not in found and n not in whole}
    found |= {read[path]: fault for path, fault in corrupt_files([*read])}
    whole.update({*read.values()} - {*found})
    return found


def files_damage(uri: str, lacking: dict[str, str]) -> Damage:
    """The damage of data files that are not whole."""
    name, fault = next(iter(lacking.items()))
    more = f", and {len(lacking) - 1} more files are not whole" if len(lacking) > 1 else ""
    return Damage(str(local_path(uri, name)), f"the data file {fault}{more}")
