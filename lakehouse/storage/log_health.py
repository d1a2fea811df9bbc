"""What is wrong with a local Delta log's files, found before anything relies on them.

Both engines open a log whose entry is empty, or cut at the end of a line, as if
nothing were amiss, and delta-rs one whose first entry is gone: rows vanish in
silence. So the log's files are looked at whenever a table is opened.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from deltalake.exceptions import DeltaError
from msgspec import Struct
from msgspec.json import Decoder

from lakehouse.core.within import Outside, check_file
from lakehouse.storage.checkpoints import LARGEST as LARGEST_CHECKPOINT
from lakehouse.storage.checkpoints import checkpoint_size
from lakehouse.storage.damage import Damage, damaged
from lakehouse.storage.entries import LARGEST, ODD, commit_info_of, entry_fault, metadata_fault

_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\..*)?\.parquet")
_FURTHER = re.compile(r"\d{20}\.checkpoint\..*\.json|_sidecars")
"""Of checkpoints of version 2, which may name files anywhere."""
HINT = "_last_checkpoint"
T = TypeVar("T")
_PATIENCE, _PAUSE = 10.0, 0.05
"""Seconds in which a log that changes is looked at again, and for which it must stay as it is."""


class _Hint(Struct):
    version: int


_hint = Decoder(_Hint).decode


@dataclass(frozen=True)
class Log:
    """The entries and checkpoints in a table's log, by version."""

    folder: Path
    entries: dict[int, Path]
    checkpoints: dict[int, list[Path]]

    @classmethod
    def of(cls, uri: str) -> Log:
        """What the folder lists, which an engine may read."""
        log = cls.listed(uri)
        for parts in log.checkpoints.values():
            with suppress(ValueError, FileNotFoundError):  # whoever needs it says so
                if (size := sum(map(checkpoint_size, parts))) > LARGEST_CHECKPOINT:
                    raise Outside(str(parts[0]), f"and its parts unpack to {size:,} bytes")
        return log

    @classmethod
    def listed(cls, uri: str) -> Log:
        """What the folder lists, for who looks what is wrong with it."""
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
            elif _FURTHER.fullmatch(path.name):
                raise Outside(str(path), "is of a checkpoint that names further files")
        base = max(checkpoints, default=-1)
        for path in (folder / HINT, *(entries[v] for v in entries if v > base)):
            _check_size(path)
        return cls(folder, entries, checkpoints)

    @property
    def newest(self) -> int:
        """The newest version that any file tells of; -1 where none does."""
        return max([*self.entries, *self.checkpoints], default=-1)

    def base_damage(self, version: int) -> Damage | None:
        """What is wrong with the checkpoint that a version is read from."""
        base = max((v for v in self.checkpoints if v <= version), default=-1)
        for part in self.checkpoints.get(base, ()):
            if fault := _checkpoint_fault(part, deep=False):
                return Damage(str(part), fault, self.newest, (part, self.folder / HINT))
        return None

    def opened_before(self, version: int) -> int | None:
        """The version before, where these files can tell what it is."""
        start = max((v for v in self.checkpoints if v < version), default=-1)
        is_whole = all(v in self.entries for v in range(start + 1, version))
        return version - 1 if version and is_whole else None


def _check_size(path: Path) -> None:
    """Raise Outside where a text that engines read whole is larger than any that they write.

    A file of forty gigabytes may take no room on a disk: its size is a hole.
    """
    with suppress(OSError):
        if (size := path.lstat().st_size) > LARGEST:
            raise Outside(str(path), f"has {size:,} bytes, more than a commit has")


def _files_in(folder: Path) -> list[Path]:
    """What a log's folder holds; Outside where a reader of it would follow a link, or wait."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                check_file(entry.path)
        return [Path(entry.path) for entry in entries]
    return []


def check_log(uri: str) -> None:
    """Raise TableDamaged, with the command that mends it, where the log is not whole."""
    if found := log_damage(uri):
        raise damaged(uri, found[0])


def log_damage(uri: str, *, deep: bool = False) -> list[Damage]:
    """What is wrong with the log, the gravest first; checkpoints are read whole where ``deep``.

    A writer may add a checkpoint, or remove old entries, between two looks at the folder:
    what is found holds for a log that stayed as it was.
    """
    return unmoved(uri, lambda: list(_log_damage(uri, deep))) or []


def unmoved(uri: str, look: Callable[[], T]) -> T:
    """What ``look`` finds wrong with a local table whose log stays as it is; else it looks again.

    Where nothing is wrong it answers at once. Raises what ``look`` raises, by the same rule.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        before, last = _listing(uri), time.monotonic() > until
        try:
            if not (found := look()):
                return found
        except (DeltaError, OSError):
            if last or _is_still(uri, before):
                raise
        else:
            if last or _is_still(uri, before):
                return found


def _is_still(uri: str, before: frozenset[tuple[str, int, int]]) -> bool:
    if _listing(uri) != before:
        return False  # at once: each look at a busy log is another chance to find it at rest
    time.sleep(_PAUSE)  # a checkpoint that is being written grows meanwhile
    return _listing(uri) == before


def _listing(uri: str) -> frozenset[tuple[str, int, int]]:
    """Name, size and time of each file of the log."""
    found = set()
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{uri}/_delta_log") as files:
        for file in files:
            with suppress(FileNotFoundError):  # it was removed since it was listed
                about = file.stat()
                found.add((file.name, about.st_size, about.st_mtime_ns))
    return frozenset(found)


def _log_damage(uri: str, deep: bool) -> Iterator[Damage]:
    log = Log.listed(uri)
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
    why = "".join(f"; {part.name}: {fault}" for part, fault in broken[:1])
    for found in _entry_damage(log, base):
        yield replace(found, fault=f"{found.fault}{why}")
    if deep:
        yield from _metadata_damage(log, base)
    for part, fault in broken:
        yield Damage(str(part), fault, log.newest, (part, log.folder / HINT))
    hint = log.folder / HINT
    if hint.is_file() and hinted(hint) not in {None, *log.checkpoints}:
        yield Damage(str(hint), "it names a checkpoint that is not there", log.newest, (hint,))


def whole_checkpoints(uri: str) -> list[int]:
    """Versions that a local log can be read from, without what came before."""
    found = Log.listed(uri).checkpoints.items()
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
    try:
        checkpoint_size(path, again=deep)
    except Outside as error:
        return error.fault
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def hinted(hint: Path) -> int | None:
    """The version that ``_last_checkpoint`` names; None where it cannot be read, as engines do."""
    try:
        return _hint(hint.read_bytes()).version
    except (OSError, *ODD):
        return None
