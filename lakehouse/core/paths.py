"""Where things lie under a lake's root."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lakehouse.core.errors import TableDamaged, TableMissing, UsageError
from lakehouse.core.within import check_file

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|file:", re.IGNORECASE)
_NO_ADDRESS = (
    "is an address, and a lake is a folder: of this machine, or a shared mount",
    "mount the store as a folder, and name that",
)
_MISREAD = re.compile(r"%[0-9A-Fa-f]{2}|[\x00-\x1f\x7f\\\[\]|^\ud800-\udfff]")
"""What delta-rs 1.6 decodes, refuses or ends the process at, wherever it stands in a path."""


IDENTITY = "_id"
"""The file in a lake that has its id: the data of its embedded services lies elsewhere, by it."""
UNFINISHED_RESTORE = "_restore"
"""Exists in the lake's root while a restore moves tables into place."""


@dataclass(frozen=True)
class Lake:
    """A lake's folders: ``bronze.shop`` is at ``<root>/bronze/shop``."""

    root: str

    def __post_init__(self) -> None:
        """Raise UsageError where the root is an address, or a path that an engine misreads."""
        if fault := _root_fault(self.root):
            raise UsageError(f"lake {self.root}", *fault)

    def table(self, name: str) -> str:
        """The path or URI of a table by its name."""
        layer, _, table = name.partition(".")
        return self.join(layer, table)

    def checkpoint(self, flow: str) -> str:
        """The checkpoint folder of a flow that reads Kafka."""
        return self.join("_checkpoints", flow)

    def state(self, flow: str) -> Path:
        """The folder of a flow's state, a cache."""
        return Path(self.join("_state", flow))

    @property
    def locks(self) -> Path:
        """The folder of the writers' locks."""
        return Path(self.root).absolute() / "_locks"

    def aside(self, name: str) -> Path:
        """A folder for what is set aside under ``<root>/_aside``; the first number that is free."""
        number = 1
        while (folder := Path(self.join("_aside", f"{name}-{number}"))).exists():
            number += 1
        return folder

    def join(self, *parts: str) -> str:
        """A path below the root."""
        return str(Path(self.root).absolute().joinpath(*parts))


def check_root(root: str) -> None:
    """Raise where a verb must not touch a lake: its root is an address, or holds links.

    A link in the place of a table, or of a folder of ours such as ``_locks``, would have us read
    or write where it leads to; a pipe, wait.
    """
    above = [Lake(root).root]
    for _ in ("layers", "tables"):
        entries = [entry for folder in above for entry in _entries(folder)]
        above = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                check_file(entry.path, or_socket=True)


def check_made(root: str) -> None:
    """Raise TableMissing where there is no such folder: who only reads makes none."""
    if not Path(root).exists():
        raise TableMissing(
            f"lake {root}", "does not exist",
            f"name another by --root, or make it: lakehouse demo {root_option(root)}",
        )  # fmt: skip


def check_restored(root: str | Path) -> None:
    """Raise TableDamaged where a restore was cut: some tables are the backup's, others are not."""
    if Path(root, UNFINISHED_RESTORE).exists():
        raise TableDamaged(
            f"lake {root}", "a restore into it was cut short",
            f"run it again: lakehouse restore BACKUP --force {root_option(root)}",
        )  # fmt: skip


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What a folder holds; nothing where it cannot be listed, which its reader says."""
    with suppress(OSError), os.scandir(folder) as found:
        return list(found)
    return []


def check_folder(place: str) -> None:
    """Raise UsageError where a folder that a verb is given is an address."""
    if _ADDRESS.match(place):
        raise UsageError(place, *_NO_ADDRESS)


def root_option(root: str | Path) -> str:
    """The option that names a root, as a shell reads it: for commands that a person copies."""
    return f"--root {shlex.quote(str(root))}"


def check_columns(uri: str, columns: Iterable[str]) -> None:
    """Raise UsageError where a folder above a table is named like a value of one of its columns.

    DuckDB gives every row that value, in the place of what the files hold.
    """
    names = {column.lower() for column in columns}
    for part in Path(uri).parts:
        key, sign, _ = part.partition("=")
        if sign and key.lower() in names:
            raise UsageError(
                uri,
                f"its path holds {part!r}, and readers take that for the table's column {key!r}",
                "name a lake whose path has no column=value in it",
            )


def _root_fault(root: str) -> tuple[str, str] | None:
    """What is wrong with a lake's root, and the remedy; None where every engine can use it."""
    if _ADDRESS.match(root):
        return _NO_ADDRESS
    path = str(Path(root).absolute())
    if found := _MISREAD.search(path):
        return (
            f"its path holds {found[0]!r}, which delta-rs reads as something else",
            "name a folder whose path has no control characters, \\ [ ] | ^, nor % and two digits",
        )
    return None


def own_command() -> str:
    """``lakehouse`` as this shell finds it, for commands that are printed to be typed."""
    if shutil.which("lakehouse"):
        return "lakehouse"
    return shlex.quote(os.path.relpath(Path(sys.executable).with_name("lakehouse")))
