"""The files of a local Delta log: synced to disk, and read without delta-rs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lakehouse.core.files import sync
from lakehouse.core.within import relative
from lakehouse.storage.damage import Damage, damaged
from lakehouse.storage.entries import (
    ODD,
    action_of,
    as_told,
    commit_info_of,
    is_undescribed,
    lines_of,
)
from lakehouse.storage.metadata import metadata_of

PART = ".part"
"""How an entry's name ends while it is written."""
_MANY, _AT_ONCE = 32, 8
"""So many files and folders are synced side by side, so many at once."""


def write_entry(table: Path, version: int, actions: Iterable[Mapping[str, Any]]) -> None:
    """Commit a version: its entry comes under its name whole and on disk, or not at all.

    FileExistsError where another writer has committed it: that is why it is linked to its
    name, where ``write_whole`` would take the place of what is there.
    """
    log = entry(str(table), version)
    part = log.with_name(f".{log.name}.{os.getpid()}{PART}")
    with part.open("w", encoding="utf-8") as out:
        for action in actions:
            # delta-rs 1.6 reads an escaped character above U+FFFF as another one
            out.write(json.dumps(action, separators=(",", ":"), ensure_ascii=False) + "\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(part, log)
    finally:
        part.unlink()
    sync(log.parent)


def sync_files(table: Path, names: Iterable[str]) -> None:
    """fsync data files, named as they are on disk, and their folders up to the table's."""
    paths = {table}
    for name in names:
        file = table / name
        paths |= {file, *file.parents[: name.count("/") + 1]}
    _sync(paths)


def sync_commit(table: Path, version: int) -> None:
    """fsync a commit: the files it added, its log entry, and their folders up to the table's.

    A folder that is new is an entry in the one above it; the first commit's are the
    table's own, up to the lake's root.
    """
    log = entry(str(table), version)
    adds = (add for line in lines_of(log) if (add := action_of(line).added()))
    sync_files(table, (relative(table, add.path, encoded=True) for add in adds))
    above = table.parents[:2] if version == 0 else ()
    _sync([log, log.parent, *above])


def sync_checkpoints(table: Path) -> None:
    """fsync the log's checkpoints and their folder."""
    log = table / "_delta_log"
    _sync([*log.glob("*checkpoint*"), log])


def forget_before(table: Path, version: int) -> None:
    """Remove the log's files of older versions than one that has a checkpoint, synced first."""
    sync_checkpoints(table)
    log = table / "_delta_log"
    with os.scandir(log) as held:
        names = [one.name for one in held if one.is_file()]
    for name in names:
        number = re.match(r"\.?(\d{20})\.", name)
        if number and int(number.group(1)) < version:
            (log / name).unlink()
    sync(log)


def remove_leftovers(table: Path) -> None:
    """Remove what a crash left half written: data files of delta-rs, which it does not list itself,
    and entries that were not committed."""
    for path in [*table.rglob("*.parquet#*"), *table.glob(f"_delta_log/.*{PART}")]:
        path.unlink()


def _sync(paths: Collection[Path]) -> None:
    """fsync files and folders; side by side where there are many, as a disk takes them together."""
    if len(paths) < _MANY:
        for path in paths:
            sync(path)
        return
    with ThreadPoolExecutor(_AT_ONCE, "sync") as pool:
        list(pool.map(sync, paths))


def commit_info(uri: str, version: int) -> dict[str, Any] | None:
    """A local commit's own description (commitInfo), as :func:`commits` has it.

    None where the log does not have it whole.
    """
    path = entry(uri, version)
    info = commit_info_of(path)
    return info and {**info, "version": version, "entry": path}


def commit_time(uri: str, version: int) -> int | None:
    """A commit's time in ms, which tells two commits of one number apart."""
    info = commit_info(uri, version)
    return int(info["timestamp"]) if info else None


def entry(uri: str, version: int) -> Path:
    """The log file of one commit."""
    return Path(uri, "_delta_log", f"{version:020}.json")


def commits(uri: str, newest: int) -> Iterator[dict[str, Any]]:
    """Each commit's own description from ``newest`` back, ``version`` and ``entry`` added.

    Ends at the first that the log does not have: history that is asked of delta-rs
    counts over such a hole and gives later commits a wrong version. One that describes
    nothing is no hole: what commits before it say still holds.
    """
    for version in range(newest, -1, -1):
        path = entry(uri, version)
        info = commit_info_of(path)
        if info is None and not is_undescribed(path):
            return
        yield {**(info or as_told({})), "version": version, "entry": path}


def notes(history: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The notes that hold at the first commit of a history, the newest first.

    From a RESTORE it goes on at the version that was restored: what lies between
    is no part of the table any more. Ends where nobody can tell which that is.
    """
    version, moment = None, None
    for commit in history:
        if version is not None and commit["version"] > version:
            continue
        if moment is not None and commit["timestamp"] > moment:
            continue
        version = moment = None
        yield note_of(commit)
        if commit.get("operation") == "RESTORE":
            version, moment = _restored(commit.get("operationParameters") or {})
            if version is None and moment is None:
                return


def note_of(commit: Mapping[str, Any]) -> dict[str, Any]:
    """What of the metadata that a commit carries is ours; TableDamaged where that does not fit."""
    try:
        return metadata_of(commit)
    except ValueError as error:
        path: Path = commit["entry"]
        fault = f"the commit {error}"
        raise damaged(str(path.parents[1]), Damage(str(path), fault)) from None


def _restored(parameters: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The version, or else the time in ms, that delta-rs or Spark restored."""
    version, millis = parameters.get("version"), parameters.get("datetime")
    try:
        if version not in {None, "null"}:
            return int(str(version)), None
        if millis is not None:
            return None, int(millis)
        moment = datetime.fromisoformat(str(parameters["timestamp"]))
        return None, int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    except ODD:
        return None, None
