"""``lakehouse backup``: all tables of a lake, each at one version, and the products' models.

A backup may be taken while flows run. Tables are pinned so that what is copied fits
together: finer silver tables, silver, audits, then bronze (so that silver holds
nothing that bronze does not), quarantine (so that it has whatever bronze's ends
passed; records above them are matched by address), and the ledger of erased addresses
last (so that it has whatever left the others). A table's log is copied when it is
pinned: its writer may shorten it later. Spark's checkpoints are no part of
it: bronze's commits say where Kafka stands, and each start makes a checkpoint again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import TableDamaged, TableMissing, UsageError
from lakehouse.core.files import sync, write_whole
from lakehouse.core.paths import Lake, check_folder, check_restored
from lakehouse.core.progress import Counted
from lakehouse.core.text import Say
from lakehouse.core.within import Within
from lakehouse.model.flow import SilverFlow
from lakehouse.operations.in_memory import in_memory
from lakehouse.operations.manifest import MANIFEST
from lakehouse.products.registry import flows, models
from lakehouse.settings.settings import Settings
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.health import opened
from lakehouse.storage.log_health import Log

Files = dict[str, dict[str, Any]]
"""Path in the lake → bytes and SHA-256."""
_TRIES = 5
"""How often a log that its writer shortens meanwhile is copied again."""


class _Removed(TableDamaged):
    """A file went while it was copied."""


@dataclass(frozen=True)
class Copied:
    """One table of a backup: its version, its files and their bytes."""

    table: str
    version: int
    files: int
    bytes: int


def tables_in(root: str) -> list[str]:
    """Every Delta table of a lake, whatever its layer: ``silver.shop_by_country``."""
    return sorted(
        f"{layer.name}.{table.name}"
        for layer in (Path(root).iterdir() if Path(root).is_dir() else [])
        if layer.is_dir() and layer.name[0] not in "._"
        for table in layer.iterdir()
        if (table / "_delta_log").is_dir()
    )


def models_in(root: str) -> list[str]:
    """The folders of products' models that are there: ``models/shop``."""
    return sorted(folder for folder in models() if Path(root, folder).is_dir())


@in_memory
def backup(settings: Settings, to: Path, now: datetime, say: Say) -> list[Copied]:
    """Copy every table into a new folder, with a manifest of sizes and SHA-256.

    The folder gets its name when it is whole; a kill leaves one named ``….partial-…``.
    """
    check_folder(str(to))
    lake = Lake(settings.lake.root)
    check_restored(lake.root)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(str(to), "is there already", "name a folder that is not there yet")
    if to.resolve().is_relative_to(Path(lake.root).resolve()):
        raise UsageError(str(to), "lies in the lake itself", "name a folder outside of it")
    names = _in_order(tables_in(lake.root))
    if not names:
        raise TableMissing(lake.root, "holds no table", "name the lake by --root")
    to.absolute().parent.mkdir(parents=True, exist_ok=True)
    partial = to.absolute().with_name(f"{to.name}.partial-{token_hex(4)}")
    partial.mkdir()  # mkdtemp's would never be the group's
    try:
        found = _filled(lake, names, partial, now, say)
    except BaseException:  # Ctrl-C too: what is not whole is of no use
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if to.exists():
        to.rmdir()
    partial.rename(to)
    sync(to.absolute().parent)
    return found


def _filled(lake: Lake, names: list[str], partial: Path, now: datetime, say: Say) -> list[Copied]:
    """Copy the tables, pinned in this order, and write the manifest."""
    copying = _Copying(Path(lake.root).absolute(), partial)
    pinned = {name: copying.pin(name) for name in names}
    copying.copied = Counted("copying", sum(map(_bytes_of, pinned.values())), "bytes")
    files: Files = {}
    found = []
    for name, (table, log) in pinned.items():
        copied = log | copying.data(name, table)
        copying.check(name, table)
        files |= copied
        total = sum(int(file["bytes"]) for file in copied.values())
        found.append(Copied(name, int(table.version()), len(copied), total))
        say(f"{name} at version {table.version()}: {len(copied):,} files, {total:,} bytes")
    for folder in models_in(lake.root):
        kept = copying.folder(folder)
        files |= kept
        say(f"{folder}: {len(kept):,} files")
    tables = {copy.table: copy.version for copy in found}
    manifest = {"made_at": now.isoformat(), "tables": tables, "files": files}
    write_whole(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
    return found


def _in_order(names: list[str]) -> list[str]:
    """Tables in the order that they are pinned in."""
    silver = [flow for flow in flows() if isinstance(flow, SilverFlow)]
    finer = {table for flow in silver for table in flow.tables} - {
        flow.table(aggregate.name) for flow in silver for aggregate in flow.aggregates
    }

    def place(name: str) -> tuple[int, str]:
        layers = {"bronze": 3, "quarantine": 4, "erased": 5, "silver": 1}
        layer = 0 if name in finer else layers.get(name.partition(".")[0], 2)
        return layer, name

    return sorted(names, key=place)


class _Copying:
    """Tables of a lake on their way into a folder."""

    def __init__(self, root: Path, to: Path) -> None:
        self._root, self._to = root, to
        self.copied: Counted | None = None
        """How far it is, once it is known of how much."""

    def pin(self, name: str) -> tuple[DeltaTable, Files]:
        """A table at its newest version, and its log up to there, copied.

        A log that is shortened meanwhile is copied again.
        """
        for _ in range(_TRIES):
            shutil.rmtree(self._at(self._to, name), ignore_errors=True)
            table = opened(str(self._at(self._root, name)))
            with suppress(_Removed):  # an entry was: the copy is looked at below
                log = self._copied(name, _log_of(table, self._at(self._root, name)))
                if self._is_same(name, table):
                    return table, log
        raise TableDamaged(
            f"table {name}", "its log was shortened while it was copied, again and again",
            "run it again, with a longer [table] log_retention or more [maintenance] log_entries",
        )  # fmt: skip

    def data(self, name: str, table: DeltaTable) -> Files:
        """The data files of the pinned version, copied."""
        return self._copied(name, map(Path, files_of(table)))

    def folder(self, name: str) -> Files:
        """A folder of files that are written whole: what names others is copied before them."""
        place = self._root / name
        found = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
        whole = [path for path in found if not _is_hidden(path.relative_to(place))]
        return self._copied(name, sorted(whole, key=lambda path: (len(path.parts), path)))

    def check(self, name: str, table: DeltaTable) -> None:
        """Raise TableDamaged where the copy is not the table that was pinned, whole."""
        try:
            opened(str(self._at(self._to, name)))
            same = self._is_same(name, table)
        except TableDamaged as damage:
            same, fault = False, damage.fault
        else:
            fault = "it opens at another version, or with other files"
        if not same:
            raise TableDamaged(f"table {name}", f"its copy is not whole: {fault}", "run it again")

    def _is_same(self, name: str, table: DeltaTable) -> bool:
        try:
            copy = DeltaTable(str(self._at(self._to, name)))
        except (DeltaError, OSError):
            return False
        return copy.version() == table.version() and _data_of(copy) == _data_of(table)

    def _copied(self, name: str, paths: Iterable[Path]) -> Files:
        copied: Files = {}
        for path in paths:
            relative = str(path.relative_to(self._root))
            file = Within.of(self._root, relative)
            size, digest = copy_file(file, Within.of(self._to, relative), name)
            copied[relative] = {"bytes": size, "sha256": digest}
            if self.copied:
                self.copied.add(size)
        return copied

    @staticmethod
    def _at(root: Path, name: str) -> Path:
        return root.joinpath(*name.split(".", 1))


def _is_hidden(path: Path) -> bool:
    """Whether a writer has not finished it."""
    return any(part.startswith(".") for part in path.parts)


def _data_of(table: DeltaTable) -> list[str]:
    return sorted(table.get_add_actions(flatten=True)["path"].to_pylist())


def _bytes_of(pinned: tuple[DeltaTable, Files]) -> int:
    return sum(pinned[0].get_add_actions(flatten=True)["size_bytes"].to_pylist())


def _log_of(table: DeltaTable, folder: Path) -> list[Path]:
    """The log's files up to the table's version."""
    version, log = int(table.version()), Log.of(str(folder))
    entries = [entry for number, entry in log.entries.items() if number <= version]
    parts = [part for number, few in log.checkpoints.items() if number <= version for part in few]
    return [*entries, *parts]


def copy_file(file: Within, to: Within, name: str) -> tuple[int, str]:
    """Copy one file in blocks, as it may be larger than memory; synced; its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    try:
        with file.read() as source, to.make() as target:
            while block := source.read(1 << 20):
                digest.update(block)
                size += target.write(block)
            target.flush()
            os.fsync(target.fileno())
    except FileNotFoundError:
        raise _Removed(
            f"table {name}", f"{file.name} was removed while it was copied",
            "run it again; keep removed files longer by [table] deleted_file_retention",
        ) from None  # fmt: skip
    return size, digest.hexdigest()
