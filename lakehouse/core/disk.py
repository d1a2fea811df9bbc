"""How much room the disks under a folder have, and how long it lasts at the present rate."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GIB = 1024**3
LEAST, LEAST_SHARE, LEAST_HOURS = 5 * GIB, 0.02, 24.0
"""A disk is short below these bytes, this share of it, or these hours until it is full."""
MAKE_ROOM = (
    "make room on it: `lakehouse maintain` removes old files; shorten "
    "[table] deleted_file_retention or a product's topic_retention"
)
_EVERY, _SPAN = 60.0, 3600.0
"""Seconds between two looks, and over which a rate is taken."""
_TRUSTED = 600.0
"""A rate over less than this says nothing of the hours to come."""
_AGAIN = 1800.0
"""Seconds until a disk that is still short is mentioned again."""


@dataclass(frozen=True)
class Room:
    """One disk: a folder on it, free and all bytes, and bytes an hour that it fills by."""

    folder: Path
    free: int
    total: int
    hourly: float | None = None
    """None where nobody knows."""

    @property
    def hours(self) -> float | None:
        """Until it is full; None where it does not fill, as far as is known."""
        return self.free / self.hourly if self.hourly and self.hourly > 0 else None

    @property
    def is_short(self) -> bool:
        """Whether a person should make room now."""
        few = self.hours is not None and self.hours < LEAST_HOURS
        return few or self.free < LEAST or self.free < LEAST_SHARE * self.total

    def told(self) -> str:
        """As text, with figures."""
        share = 100 * self.free / self.total if self.total else 0.0
        words = f"{self.free / GIB:.1f} GiB free, {share:.0f} % of the disk of {self.folder}"
        if self.hours is not None and self.hourly:
            words += f"; fills at {self.hourly / GIB:.2f} GiB an hour: {self.hours:.0f} h left"
        return words


def disks(root: Path) -> list[Path]:
    """A folder of each disk that a lake lies on: its root, and folders mounted in it."""
    root = root.absolute()
    if not root.is_dir():
        return [next(path for path in root.parents if path.is_dir())]
    layers = [path for path in root.iterdir() if path.is_dir()]
    tables = [path for layer in layers for path in layer.iterdir()]
    return [root, *sorted(path for path in (*layers, *tables) if path.is_mount())]


def gained(root: Path, now: float) -> dict[int, float]:
    """Bytes that files of the last hour take under a folder, by the device that they are on."""
    sizes: dict[int, float] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(OSError):  # it went while we looked
                found = Path(folder, name).lstat()
                if now - found.st_mtime < _SPAN:
                    sizes[found.st_dev] = sizes.get(found.st_dev, 0.0) + found.st_blocks * 512
    return sizes


def room(folder: Path, hourly: float | None = None) -> Room:
    """The room of the disk that a folder is on."""
    usage = shutil.disk_usage(folder)
    return Room(folder, usage.free, usage.total, hourly)


class DiskWatch:
    """Tells of disks that run short while a flow runs; times are in seconds."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[Path, deque[tuple[float, int]]] = {}
        self._looked, self._told = float("-inf"), dict[Path, float]()

    def short(self, now: float) -> Iterator[Room]:
        """Disks that are short and were not told of lately; a look a minute."""
        if now - self._looked < _EVERY:
            return
        self._looked = now
        for folder in disks(self._root):
            found = self._measured(folder, now)
            if found.is_short and now - self._told.get(folder, float("-inf")) >= _AGAIN:
                self._told[folder] = now
                yield found

    def _measured(self, folder: Path, now: float) -> Room:
        found = room(folder)
        seen = self._seen.setdefault(folder, deque())
        seen.append((now, found.free))
        while now - seen[0][0] > _SPAN:
            seen.popleft()
        since, before = seen[0]
        if now - since < _TRUSTED:
            return found
        return Room(folder, found.free, found.total, (before - found.free) / (now - since) * 3600)
