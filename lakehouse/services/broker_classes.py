"""The archive of the broker's classes: the first broker that ends well makes it.

See :mod:`lakehouse.core.archives`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

from lakehouse.core.archives import OF_EVERY_JVM, QUIET, Archives, key_of, options
from lakehouse.services.jars import default_cache
from lakehouse.services.java import Java

_PART = "kafka-part-"
_LENIENT = "-XX:+IgnoreUnrecognizedVMOptions"
"""A JVM that knows no archives starts without one."""


@dataclass(frozen=True)
class Classes:
    """A broker's options for its archive of classes, and what to keep when it has ended."""

    mapped: tuple[str, ...] = ()
    """Options of a JVM that maps the archive."""
    made: tuple[str, ...] = ()
    """Options of a JVM that makes it as it ends, where there is none."""
    _archives: Archives | None = None
    _part: Path = Path()

    @classmethod
    def of(cls, java: Java, jars: Sequence[Path]) -> Self:
        """For a broker of these jars.

        Nothing where the cache may be another user's word, or this user gives an archive.
        """
        if any("SharedArchive" in os.environ.get(name, "") for name in OF_EVERY_JVM):
            return cls()
        with suppress(OSError):
            archives = Archives(default_cache(), "kafka", key_of(java.home, jars))
            if archives.opened():
                return cls()
            if whole := archives.whole():
                return cls((_LENIENT, *options(whole)))
            part = archives.folder / f"{_PART}{uuid4().hex}"
            return cls((), (_LENIENT, f"-XX:ArchiveClassesAtExit={part}", *QUIET), archives, part)
        return cls()

    def keep(self) -> None:
        """Give the archive that was made its name; one that another broker made stays."""
        if self._archives is None:
            return
        with suppress(OSError):
            if self._archives.whole() is None:
                self._archives.take(self._part)
            for left in self._archives.folder.glob(f"{_PART}*"):
                left.unlink(missing_ok=True)
