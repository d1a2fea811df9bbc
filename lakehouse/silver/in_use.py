"""The marker of a store that is open, and how many processes ended while they read it.

It names the machine's boot, so a power cut is noticed, and a count. LMDB does not bear pages that
a disk has spoiled: a read of them may end the process, at each start again, and values of them
may fail a fold each time. The count is one more for as long as the store is read or written, and
for good once a fold failed, until something was applied. A flow that is killed while it does
anything else, as an idle one is, leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lakehouse.core.errors import writing
from lakehouse.core.files import write_whole

_FILE = "in_use"
_RUN = Path("/proc/sys/kernel/random/boot_id")
_MOST = 9
"""The count is one digit, so that each is written over the other in place."""


class InUse:
    """The marker in a store's folder; it is there from :meth:`begin` until :meth:`end`."""

    def __init__(self, folder: Path, ended: int = 0) -> None:
        self.ended = ended
        """Processes in a row that ended while they read the store, before anything was applied."""
        self._path = folder / _FILE
        self._depth = 0
        self._is_there = self._has_failed = self._is_held = False

    @classmethod
    def found(cls, folder: Path) -> InUse | None:
        """As the last process left it; None where one ended with the machine's boot."""
        try:
            run, _, ended = (folder / _FILE).read_text("utf-8").partition(" ")
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError):
            return None
        is_ours = run == (_run() or None) and (ended or "0").isdecimal()
        return cls(folder, int(ended or 0)) if is_ours else None

    def begin(self) -> None:
        """Say, on the disk, that the store is open."""
        if not self._is_there:
            with writing(f"state {self._path.parent}"):
                write_whole(self._path, self._told(self.ended))
            self._is_there = True

    def end(self) -> None:
        """The store is whole on the disk: no marker, unless a fold failed over it."""
        if not self._has_failed:
            self._path.unlink(missing_ok=True)
            self._is_there, self.ended = False, 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The block reads or writes the store: an end of the process in it counts."""
        self._depth += 1
        try:
            if self._depth == 1:
                self._say(self.ended + 1)
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._say(self.ended)

    def fail(self) -> None:
        """A fold failed over it, which counts as an end of the process."""
        if not self._has_failed and not self._is_held:
            self.ended += 1
            self._say(self.ended)
        self._has_failed = True

    def hold(self) -> None:
        """Something was applied: an end of the process from here on is not the store's doing."""
        self._has_failed = False
        if not self._is_held:
            self.ended = 0
            self._say(0)
            self._is_held = True

    def _say(self, ended: int) -> None:
        """Write the count over the former one: in the system's cache, which outlives a kill."""
        if not self._is_there or self._is_held:
            return
        place = f"state {self._path.parent}"
        with writing(place), suppress(FileNotFoundError), self._path.open("r+b") as file:
            file.write(self._told(ended))

    def _told(self, ended: int) -> bytes:
        return f"{_run()} {min(ended, _MOST)}".encode()


def _run() -> str:
    """The id of this boot of the machine; empty if the system gives none."""
    return _RUN.read_text("ascii").strip() if _RUN.exists() else ""
