"""All of bronze folded in parts, each of which is one transaction of the store.

Worked example. Version 40 of bronze is folded in five parts.

- The store has parts 0 and 1, and says so. Crash here, or while part 2 is folded.
- After: the next try finds the same files of version 40, to be folded in the same parts, and
  goes on with part 2. Tables that had a turn after part 1 say that they have two parts.
- The store commits part 4, and says version 40: the tables' turns say it too.

Where bronze has other files, or the parts another size, all is folded again.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any
from zlib import crc32

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import TableDamaged
from lakehouse.settings.settings import Settings
from lakehouse.silver.kept import Kept
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.follower import Follower, Say
from lakehouse.storage.increments import Increment

_FACT = "anew"
"""Fact of the store: what is folded in parts, and how many are in it."""


class InParts(Follower):
    """A follower whose state is kept in a store."""

    kept: Kept

    def __init__(self, name: str, product: str, settings: Settings, most_rows: int) -> None:
        super().__init__(name, product, settings, most_rows)
        self._folded: dict[str, Any] = {}
        """What is folded in parts just now."""

    @abstractmethod
    def make_state(self) -> None:
        """Where the store is not ready, make it of the tables."""

    @property
    def begun(self) -> int | None:
        """The version of bronze of which the tables hold some parts; None where they do not."""
        told = self.kept.store.facts(_FACT) if self.kept.is_ready else None
        if not told:
            return None
        try:
            now = _what(self.open_bronze(), told["version"], self.most_rows)
        except DeltaError:
            return None
        return told["version"] if told | now == told else None

    def fold_from_nothing(self, version: int, say: Say | None = None) -> None:
        """Fold all of bronze at a version into tables that are empty, a part at a time.

        ``say`` gets how many rows are folded, of how many. Tables that hold parts of this
        version, as a crash leaves them, are continued.
        """
        parts = self.kept.store.facts(_FACT)["parts"] if self.begun == version else 0
        self._folded = _what(self.open_bronze(), version, self.most_rows)
        self.make_state()
        try:
            for step in self.whole(version, say):
                if step.part >= parts:
                    self.apply(step)
                    self.may_go_on(step)
            self.persist()
        finally:
            self.settle()
        self._folded = {}

    def say_part(self, step: Increment) -> None:
        """Within a part's transaction: that it is in the store."""
        if self._folded:
            self.kept.store.say(_FACT, {**self._folded, "parts": step.part + 1})

    def is_followed(self, version: int, target: int) -> bool:
        """Whether bronze's log tells what it gained between two versions, and only gained."""
        try:
            return version <= target and all(True for _ in self.steps(version, target))
        except (FileNotFoundError, TableDamaged):
            return False


def _what(bronze: DeltaTable, version: int, most_rows: int) -> dict[str, Any]:
    """What tells two folds of all of bronze apart; DeltaError where it has no such version."""
    bronze.load_as_version(version)
    names = "\n".join(sorted(files_of(bronze)))
    return {
        "bronze": str(bronze.metadata().id), "version": version,
        "files": crc32(names.encode()), "most": most_rows,
    }  # fmt: skip
