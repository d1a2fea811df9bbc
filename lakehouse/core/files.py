"""Files that are whole or not there at all."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path


def make_for(access: str) -> None:
    """What this process, and those that it starts, make is for its user alone, or its group."""
    os.umask(0o007 if access == "group" else 0o077)


def distrust(found: os.stat_result) -> str:
    """Why what a file or folder holds may be another user's word; empty where it is not.

    The group that a user has alone may write, as some systems have it by default.
    """
    if found.st_uid not in {0, os.geteuid()}:
        return f"it belongs to another user, number {found.st_uid}"
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and found.st_gid != os.getegid()):
        return "others can write to it"
    return ""


def write_whole(path: Path, data: bytes | memoryview, mode: int = 0o666) -> None:
    """Replace a file, on the disk when this returns: no reader sees half of it. One writer a file.

    Before: the old file. Crash while ``.part`` is written: the old file, and a part that the
    next write removes. After: the new one. Where the disk is full no part is left: it would hold
    what room there is.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link itself, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def sync(path: Path) -> None:
    """fsync a file, or a folder: what was moved or made there is there after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
