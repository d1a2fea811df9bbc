"""Statements that were run, kept in a file of the user's own, the newest last."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from lakehouse.core.errors import LakehouseError
from lakehouse.core.files import distrust, write_whole

_KEPT, _LONGEST = 500, 10_000
_MODE = 0o600


class History:
    """The statements of all sessions. A file that cannot be read or written is no reason to stop.

    ``path`` is the file; without one it lies in the user's state folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The file."""
        from lakehouse.core.own import state_folder  # noqa: PLC0415  # it loads the log

        return self._path or state_folder() / "explore_history"

    @cached_property
    def statements(self) -> list[str]:
        """What was run, the newest last."""
        return self._read()

    def add(self, statement: str) -> None:
        """Keep a statement as the newest; the same one before it goes."""
        if not statement.strip() or len(statement) > _LONGEST:
            return
        self.statements = [s for s in self.statements if s != statement][-_KEPT + 1 :]
        self.statements.append(statement)
        self._write()

    def _read(self) -> list[str]:
        try:
            if distrust(self.path.lstat()) or self.path.is_symlink():
                return []
            lines = self.path.read_text("utf-8").splitlines()
            found = [json.loads(line) for line in lines[-_KEPT:]]
        except (OSError, ValueError, LakehouseError):
            return []
        return [statement for statement in found if isinstance(statement, str)]

    def _write(self) -> None:
        """The file as a whole; of two explorers the later one's stays."""
        from lakehouse.core.own import make_folder  # noqa: PLC0415  # likewise

        text = "".join(f"{json.dumps(statement)}\n" for statement in self.statements)
        with suppress(OSError, LakehouseError):  # a person who reads need not be able to write
            make_folder(self.path.parent)
            write_whole(self.path, text.encode(), _MODE)
