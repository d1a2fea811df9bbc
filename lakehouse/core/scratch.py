"""A folder for what does not fit into memory: gone at the end, or when the next one is made.

Its maker holds the kernel's lock on it, which a kill -9 releases too: a folder that
nobody holds was left, and is removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """An empty folder of this user's own among the system's temporary ones."""
    for left in Path(gettempdir()).glob(f"{prefix}*"):
        _remove_left(left)
    folder, lock = _made(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed is the next one's
        os.close(lock)


def _made(prefix: str) -> tuple[Path, int]:
    """A folder and the lock on it; another process may take a folder without one for a left one."""
    while True:
        folder = Path(mkdtemp(prefix=prefix))
        if (lock := _locked(folder)) is not None:
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _remove_left(folder: Path) -> None:
    if (lock := _locked(folder)) is not None:
        shutil.rmtree(folder, ignore_errors=True)  # another user's stays
        os.close(lock)


def _locked(folder: Path) -> int | None:
    """The lock on a folder; None where another process has it, or there is no such folder."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
