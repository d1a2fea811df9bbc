"""The files of a local Delta log: synced to disk, and read without delta-rs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NOTE = "userMetadata"
"""The metadata key that delta-rs and Spark both read."""


def sync_commit(table: Path, version: int) -> None:
    """fsync a commit: the files it added, its log entry, and their folders."""
    entry = table / "_delta_log" / f"{version:020}.json"
    paths = {entry, entry.parent}
    for line in entry.read_text(encoding="utf-8").splitlines():
        added = json.loads(line).get("add")
        if added:
            paths |= {table / added["path"], (table / added["path"]).parent}
    _sync(paths)


def sync_checkpoints(table: Path) -> None:
    """fsync the log's checkpoints and their folder."""
    log = table / "_delta_log"
    _sync([*log.glob("*checkpoint*"), log])


def sync_folder(folder: Path) -> None:
    """fsync a folder: files that were moved or made there are there after a power cut."""
    _sync([folder])


def forget_before(table: Path, version: int) -> None:
    """Remove the log's files of older versions than one that has a checkpoint, synced first."""
    sync_checkpoints(table)
    log = table / "_delta_log"
    for path in log.iterdir():
        number = re.match(r"\.?(\d{20})\.", path.name)
        if path.is_file() and number and int(number.group(1)) < version:
            path.unlink()
    _sync([log])


def remove_leftovers(table: Path) -> None:
    """Remove data files that a crash left half written; delta-rs, which named them, lists none."""
    for path in table.rglob("*.parquet#*"):
        path.unlink()


def _sync(paths: Iterable[Path]) -> None:
    """fsync files and folders, those that are there."""
    for path in paths:
        if path.exists():  # percent-encoded partition names differ on disk
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def commit_info(uri: str, version: int) -> dict[str, Any] | None:
    """What a commit of a local table says of itself; None where the log does not have it whole."""
    try:
        with entry(uri, version).open(encoding="utf-8") as lines:
            for line in lines:
                if '"commitInfo"' in line:
                    info: dict[str, Any] = json.loads(line)["commitInfo"]
                    return info
    except (OSError, ValueError, KeyError):
        return None
    return None


def commit_time(uri: str, version: int) -> int | None:
    """A commit's time in ms, by which it is told from another one under its number."""
    info = commit_info(uri, version)
    return int(info["timestamp"]) if info else None


def is_same_commit(uri: str, source: Mapping[str, Any]) -> bool:
    """Whether a table still has the commit that ``source`` names by its version and time.

    It has another one where it went back and wrote on. True where nobody can tell.
    """
    time = commit_time(uri, int(source["version"]))
    return time is None or source.get("time", time) == time


def entry(uri: str, version: int) -> Path:
    """The log file of one commit."""
    return Path(uri, "_delta_log", f"{version:020}.json")


def commits(uri: str, newest: int) -> Iterator[dict[str, Any]]:
    """What each commit from ``newest`` back says of itself, ``version`` added.

    Ends at the first that the log does not have: history that is asked of delta-rs
    counts over such a hole and gives later commits a wrong version.
    """
    for version in range(newest, -1, -1):
        info = commit_info(uri, version)
        if info is None:
            return
        yield {**info, "version": version}


def notes(history: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The notes that hold at the first commit of a history, the newest first.

    From a RESTORE it goes on at the version that was restored: what lies between
    is no part of the table any more. Ends where nobody can tell which that is.
    """
    version, time = None, None
    for commit in history:
        if version is not None and commit["version"] > version:
            continue
        if time is not None and commit["timestamp"] > time:
            continue
        version = time = None
        yield note_of(commit)
        if commit.get("operation") == "RESTORE":
            version, time = _restored(commit.get("operationParameters") or {})
            if version is None and time is None:
                return


def note_of(commit: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that a commit carries; nothing where another writer put something else."""
    try:
        note = json.loads(commit.get(NOTE) or "{}")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _restored(parameters: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The version, or else the time in ms, that delta-rs or Spark restored."""
    version, time = parameters.get("version"), parameters.get("datetime")
    try:
        if version not in {None, "null"}:
            return int(str(version)), None
        if time is not None:
            return None, int(time)
        moment = datetime.fromisoformat(str(parameters["timestamp"]))
        return None, int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    except (KeyError, ValueError):
        return None, None
