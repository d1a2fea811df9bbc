"""The error that a failed read or write is reported as, by its cause where that can be seen."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

import duckdb
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from lakehouse.core.errors import (
    NO_ROOM,
    LakehouseError,
    ServiceUnavailable,
    TableDamaged,
    disk_full,
    too_many_files,
)
from lakehouse.core.signals import is_interrupt
from lakehouse.core.text import one_line
from lakehouse.storage.damage import Damage, damaged, table_name

ENGINES = (duckdb.Error, pa.ArrowException, DeltaError, UnicodeDecodeError, MemoryError)
"""What engines raise at files of others; words of DuckDB's that quote a file may be no UTF-8."""


def read_fault(uri: str, file: str | Path, error: Exception) -> LakehouseError:
    """The error of ours for a data file that cannot be read, or is not what was written."""
    if _is_gone(uri):
        return _moved(uri)
    if _has_too_many_files(error):
        return too_many_files(error)
    return damaged(uri, Damage(str(file), f"the data file cannot be read: {one_line(error, 300)}"))


def write_fault(uri: str, error: Exception) -> LakehouseError:
    """The error of ours for one of delta-rs, or of the disk."""
    if isinstance(error, CommitFailedError | FileExistsError):
        return another_writer(uri)
    if _is_gone(uri):
        return _moved(uri)
    if _has_too_many_files(error):
        return too_many_files(error)
    if (isinstance(error, OSError) and error.errno in NO_ROOM) or "o space left" in str(error):
        return disk_full(uri)
    if isinstance(error, TableNotFoundError) or "ile not found" in str(error):
        return damaged(uri, Damage(uri, f"a file of it is gone: {one_line(error, 300)}"))
    return ServiceUnavailable(
        uri,
        f"cannot be written: {one_line(error, 300)}",
        "mend the disk or the folder's rights, then start again",
    )


@contextmanager
def read_faults(place: str) -> Iterator[None]:
    """Report what an engine meets in broken or false files as damage of the place."""
    try:
        yield
    except BaseException as error:
        if is_interrupt(error) or not _is_of_files(error):
            raise
        if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
            remedy = "raise [silver] engine_memory, or leave a table alone that others made"
        else:
            remedy = "`lakehouse doctor --deep` names the file; repair it, or restore a backup"
        raise TableDamaged(place, f"cannot be read: {one_line(error, 300)}", remedy) from None


def _is_of_files(error: BaseException) -> bool:
    """Whether an engine says it: DuckDB, Arrow or delta-rs, which may panic."""
    is_arrows = isinstance(error, OSError) and error.errno is None  # a footer that is no footer
    return is_arrows or isinstance(error, ENGINES) or type(error).__module__ == "pyo3_runtime"


def not_as_left(uri: str) -> LakehouseError:
    """The error of a table that is not at the version at which this process left it."""
    return _moved(uri) if _is_gone(uri) else another_writer(uri)


def _has_too_many_files(error: Exception) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def _is_gone(uri: str) -> bool:
    return not Path(uri, "_delta_log").is_dir()


def _moved(uri: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"table {table_name(uri)}",
        f"its folder was moved or removed since it was opened: {uri}",
        "put it back, or name the lake by --root where it is now; then start again",
    )


def another_writer(uri: str) -> TableDamaged:
    """The error of a commit that another program made meanwhile."""
    return TableDamaged(
        f"table {table_name(uri)}",
        "another program has committed to it since this process read it",
        "find that program and stop it: a table has one writer; then start again, and "
        "`lakehouse audit` says whether it changed rows",
    )
