"""A lake's files read whole: each log and checkpoint, and every page of every data file."""

from __future__ import annotations

from collections.abc import Iterator

from lakehouse.core.errors import TableDamaged
from lakehouse.core.memory import bounded, growth
from lakehouse.core.paths import Lake
from lakehouse.core.progress import Counted
from lakehouse.operations.backup import tables_in
from lakehouse.storage.checksums import has_checksums
from lakehouse.storage.damage import damaged, files_damage
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.health import broken_files, opened
from lakehouse.storage.log_health import log_damage


def read_whole(lake: Lake, memory: str) -> Iterator[tuple[str, str, TableDamaged | None]]:
    """Each table's name, what was read of it, and its damage where there is one.

    What takes much more than ``memory`` to be read is damage too.
    """
    names = tables_in(lake.root)
    looked_at = Counted("reading every page", len(names), "tables")
    for name in names:
        try:
            with bounded(growth(memory)):
                read = _files_read(lake.table(name))
        except TableDamaged as damage:
            yield name, damage.fault, damage
        else:
            yield name, read, None
        looked_at.add(1)


def _files_read(uri: str) -> str:
    """What was read of the data files; TableDamaged where one, or the log, is not whole."""
    if found := log_damage(uri, deep=True):
        raise damaged(uri, found[0])
    table = opened(uri)
    if broken := broken_files(table, uri):
        raise damaged(uri, files_damage(uri, broken))
    files = files_of(table)
    bare = sum(not has_checksums(file) for file in files)
    told = f"every page of {len(files) - bare:,} files is what was written"
    if bare:
        told += (
            f"; {bare:,} files of an earlier release, or of another program, have no checksums: "
            "they can be read"
        )
    return told
