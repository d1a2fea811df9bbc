"""A folder for what a question's rows take beyond the memory that it may have.

DuckDB opens whatever lies in that folder to a statement that names it, whatever else is closed:
so nobody can name it. Its name is 128 random bits, and no statement may list what it lies in.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import gettempdir

from lakehouse.core.errors import NO_ROOM, DiskFull
from lakehouse.core.memory import size_of
from lakehouse.core.scratch import scratch_folder
from lakehouse.storage.duck import Limits

_TIMES, _SHARE = 10, 0.5
"""Most that is written: so many times the memory, and this share of what the disk has free."""


@dataclass(frozen=True)
class Room:
    """Where rows may be written, and how many bytes; with no folder nothing is."""

    folder: str = ""
    most: int = 0

    def limits(self, memory: str, files: Collection[str], *, keeps_footers: bool = False) -> Limits:
        """What a connection may take that has this room."""
        return Limits(
            memory, files=files, keeps_footers=keeps_footers,
            temporary=self.folder, most_temporary=self.most,
        )  # fmt: skip


@contextmanager
def spill_room(memory: str) -> Iterator[Room]:
    """Room beside so much memory, gone at the end; none where this machine has no place for it."""
    with ExitStack() as stack:
        try:
            outer = stack.enter_context(scratch_folder("lakehouse-explorer-")).resolve()
            folder = outer / secrets.token_hex(16)
            folder.mkdir()
            free = shutil.disk_usage(folder).free
        except OSError:  # no folder for temporary files, or one that is full
            yield Room()
            return
        yield Room(str(folder), min(_TIMES * size_of(memory), int(_SHARE * free)))


def is_full(error: BaseException) -> bool:
    """Whether an engine's error says that the disk has no room."""
    return any(os.strerror(number) in str(error) for number in NO_ROOM)


def spill_full() -> DiskFull:
    """The error of a question whose rows that disk has no room for."""
    return DiskFull(
        gettempdir(),
        "has no room for what the query does not hold in memory",
        "make room on its disk, name another folder by TMPDIR, narrow the query, or raise "
        "[explorer] memory_limit",
    )
