"""A small disk, and a full one."""

import os
import subprocess
from contextlib import contextmanager, suppress

import pytest

from lakehouse.core import disk

KIB = 1024


@contextmanager
def disk_at(folder, size="4m"):
    """A disk of its own at this folder; skips where it cannot be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount: a full disk was not tried")
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed, a full disk was not tried: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def full(folder, room):
    """The disk of this folder with so many bytes left."""
    ballast = folder / "ballast"
    left = disk.room(folder).free - room
    with ballast.open("wb", buffering=0) as out, suppress(OSError):
        while left > 0:
            left -= out.write(b"\0" * min(left, 64 * KIB))
    try:
        yield
    finally:
        ballast.unlink()
