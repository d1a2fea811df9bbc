"""The files of a local Delta log: synced to disk, and checked when a table is opened."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from lakehouse.core.errors import TableDamaged


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


def forget_before(table: Path, version: int) -> None:
    """Remove the log's files of older versions, and data files that a crash left half written.

    The newest version must have a checkpoint: it is synced first.
    """
    sync_checkpoints(table)
    log = table / "_delta_log"
    for path in log.iterdir():
        number = re.match(r"\.?(\d{20})\.", path.name)
        if path.is_file() and number and int(number.group(1)) < version:
            path.unlink()
    for path in table.rglob("*.parquet#*"):
        path.unlink()
    _sync([log])


def _sync(paths: Iterable[Path]) -> None:
    """fsync files and folders, those that are there."""
    for path in paths:
        if path.exists():  # percent-encoded partition names differ on disk
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def check_last_commit(uri: str) -> None:
    """Raise TableDamaged when the newest log entry is empty or cut."""
    log = Path(uri) / "_delta_log"
    if "://" in uri or not log.is_dir():
        return
    entries = sorted(p for p in log.glob("*.json") if p.stem.isdigit())
    if not entries:
        return
    newest = entries[-1]
    try:
        actions = [json.loads(line) for line in newest.read_text("utf-8").splitlines()]
        whole = any("commitInfo" in action for action in actions)
    except (ValueError, UnicodeDecodeError):
        whole = False
    if not whole:
        raise TableDamaged(
            str(newest),
            f"the newest commit is cut ({newest.stat().st_size} bytes)",
            f"keep a copy and remove it: the flow then writes version {int(newest.stem)} again",
        )
