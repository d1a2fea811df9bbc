"""A local Delta table opened where its log and its data files are whole, or its damage told."""

from __future__ import annotations

import os
import stat

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import TableDamaged
from lakehouse.core.paths import check_columns
from lakehouse.core.text import one_line
from lakehouse.core.within import check_file, check_folders, relative
from lakehouse.storage.damage import Damage, damaged, files_damage
from lakehouse.storage.file_paths import local_path
from lakehouse.storage.log_health import Log, check_log, unmoved


def newest(uri: str) -> DeltaTable:
    """A table at its newest version, its log and its files found whole; or else TableDamaged.

    A version whose files a writer removes meanwhile is no longer the newest: it is reopened.
    Raises DeltaError where it cannot be opened.
    """
    check_log(uri)
    opened: list[DeltaTable] = []

    def lacking() -> dict[str, str]:
        opened[:] = [loaded(uri, None)]
        return lacking_files(opened[0], uri)

    if found := unmoved(uri, lacking):
        raise damaged(uri, files_damage(uri, found))
    check_columns(uri, (field.name for field in opened[0].schema().fields))
    return opened[0]


def loaded(uri: str, version: int | None) -> DeltaTable:
    """A table at a version, or its newest, whose log holds files alone.

    DeltaError where it cannot be opened, TableDamaged where an action of it does not fit.
    """
    log = Log.of(uri)
    if version is not None and (found := log.base_damage(version)):
        raise damaged(uri, found)
    try:
        return DeltaTable(uri, version=version)
    except ValueError as error:  # a partition's value is lacking, or is none of its type
        raise damaged(uri, Damage(uri, _misfit(error))) from None


def _misfit(error: Exception) -> str:
    return f"its log has an action that does not fit: {one_line(error)}"


def opened(uri: str) -> DeltaTable:
    """As :func:`newest`; where the table cannot be opened, TableDamaged too."""
    try:
        return newest(uri)
    except DeltaError as error:
        raise _unopened(uri, error) from None


def current(uri: str) -> DeltaTable:
    """As :func:`loaded`, at the newest version; where it cannot be opened, TableDamaged too."""
    try:
        return loaded(uri, None)
    except DeltaError as error:
        raise _unopened(uri, error) from None


def _unopened(uri: str, error: DeltaError) -> TableDamaged:
    fault = one_line(error, 300)
    return damaged(uri, Damage(uri, f"cannot be opened: {fault}"))


def lacking_files(table: DeltaTable, uri: str) -> dict[str, str]:
    """Data files of this version, as the log writes them, that are not whole → what is wrong."""
    found = {}
    try:
        actions = table.get_add_actions(flatten=True)
        names, sizes = actions["path"].to_pylist(), actions["size_bytes"].to_pylist()
    except ValueError as error:  # a name is no UTF-8, or a value none of its type
        raise damaged(uri, Damage(uri, _misfit(error))) from None
    paths = [f"{uri}/{relative(uri, name, encoded=True)}" for name in names]
    check_folders(uri, paths)
    for name, path, size in zip(names, paths, sizes, strict=True):
        try:
            there = os.lstat(path)
        except OSError:
            found[name] = "is missing"
        else:
            if not stat.S_ISREG(there.st_mode):
                check_file(path)
            if there.st_size != size:
                found[name] = f"has {there.st_size:,} of {size:,} bytes"
    return found


def broken_files(
    table: DeltaTable, uri: str, whole: set[str] | None = None, *, or_large: bool = True
) -> dict[str, str]:
    """Data files that are not whole, or have a page that is not what was written → what is wrong.

    All pages are read, but for those of files in ``whole``, which gains what is found so.
    ``or_large`` is as :func:`lakehouse.storage.checksums.corrupt_files` has it.
    """
    from lakehouse.storage.checksums import corrupt_files  # noqa: PLC0415  # it loads Arrow

    whole = set() if whole is None else whole
    found = lacking_files(table, uri)
    names = table.get_add_actions()["path"].to_pylist()
    read = {str(local_path(uri, n)): n for n in names if n not in found and n not in whole}
    found |= {read[path]: fault for path, fault in corrupt_files([*read], or_large=or_large)}
    whole.update({*read.values()} - {*found})
    return found
