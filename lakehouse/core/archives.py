"""Archives of a JVM's classes, parsed once: each later JVM maps one and starts seconds sooner.

A class-data-sharing archive is of one Java and one set of jars: a JVM that cannot use it runs
without it. ``-XX:+AutoCreateSharedArchive`` would do this without our code, but needs JDK 19; we
support 17.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lakehouse.core.files import distrust

KEPT = 3
"""How many archives of a kind are kept."""
OF_EVERY_JVM = ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS")
"""Variables of options; a JVM that is told there to map an archive does not write another."""
QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")


@dataclass(frozen=True)
class Archives:
    """Archives of one kind in a cache; ``key`` is what such an archive depends on."""

    cache: Path
    kind: str
    key: str

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.cache / "archives"

    def opened(self) -> str:
        """Make the folder; why nothing in it is used, empty where it may be."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return distrust(self.cache.stat()) or distrust(self.folder.stat())

    def whole(self) -> Path | None:
        """The archive, if it is complete: its name has its size, which no JVM checks.

        One that another user can write to does not count: what is mapped into a JVM runs. An empty
        one says that it could not be made.
        """
        found = ((path, path.lstat()) for path in self.folder.glob(f"{self.kind}-{self.key}-*.jsa"))
        return next((path for path, at in found if _is_whole(path, at) and not distrust(at)), None)

    def take(self, made: Path) -> Path:
        """Give what was made in the folder its name; older ones make room."""
        name = f"{self.kind}-{self.key}-{made.stat().st_size}.jsa"
        old = sorted(self.folder.glob(f"{self.kind}-*.jsa"), key=lambda p: p.stat().st_mtime)
        for path in old[: 1 - KEPT]:
            path.unlink(missing_ok=True)
        return made.rename(self.folder / name)


def options(archive: Path) -> tuple[str, ...]:
    """Options of a JVM that maps an archive, which counts as used now."""
    os.utime(archive)
    return (f"-XX:SharedArchiveFile={archive}", *QUIET) if archive.stat().st_size else ()


def key_of(java_home: Path, jars: Sequence[Path], *parts: str) -> str:
    """A key of a Java, of jars, and of what else counts: a JVM refuses other jars, or times."""
    release = java_home / "release"
    told = [str(java_home), release.read_text("utf-8") if release.is_file() else "", *parts]
    told += [f"{jar}:{jar.stat().st_mtime_ns}" for jar in jars]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _is_whole(path: Path, at: os.stat_result) -> bool:
    return stat.S_ISREG(at.st_mode) and path.stem.rpartition("-")[2] == str(at.st_size)
