"""What a user can get wrong, said as place, fault and remedy; and the exit codes scripts trust."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from lakehouse.core.text import sayable

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says of a disk, or of a user's share of it, that is full."""


class Exit(IntEnum):
    """Exit codes of every command; listed in docs/settings.md from here."""

    OK = 0
    """The command did what it was asked."""
    FAULT = 1
    """The answer is no: a check failed, SQL was rejected, numbers differ."""
    USAGE = 2
    """Wrong arguments, or wrong settings."""
    NO_TABLE = 3
    """A table that does not exist (yet), or an answer that cannot be given."""
    TIMEOUT = 4
    """The time limit ran out."""
    UNAVAILABLE = 5
    """A service (Kafka, Java, a jar, the disk) is not available."""
    LOCKED = 6
    """Another process writes this table."""
    INTERRUPTED = 130
    """Ctrl-C."""


class LakehouseError(Exception):
    """A fault that a person can mend: where it is, what is wrong, what to do.

    Shown as ``place: fault`` and a ``fix:`` line, never as a traceback.
    """

    exit_code: Exit = Exit.FAULT
    is_told = False
    """Whether it was said already, before it was raised."""

    def __init__(self, place: str, fault: str, remedy: str) -> None:
        super().__init__(place, fault, remedy)
        self.place, self.fault, self.remedy = place, fault, remedy

    def __str__(self) -> str:
        """Place, fault and remedy; what a terminal might obey is written out."""
        return f"{sayable(f'{self.place}: {self.fault}')}\n  fix: {sayable(self.remedy)}"


class SettingsError(LakehouseError):
    """config.ini or the environment cannot be used as it stands."""

    exit_code = Exit.USAGE


class UsageError(LakehouseError):
    """An argument names something that is not there or makes no sense."""

    exit_code = Exit.USAGE


class DeclarationError(LakehouseError):
    """A product that is declared wrong, or cannot be loaded: nothing runs before it is mended."""

    exit_code = Exit.USAGE


class TableMissing(LakehouseError):
    """A table was asked for that no flow has made yet."""

    exit_code = Exit.NO_TABLE


class ServiceUnavailable(LakehouseError):
    """Kafka, Java, a jar or the disk is not available."""

    exit_code = Exit.UNAVAILABLE


class ServiceRefuses(ServiceUnavailable):
    """A service answers and refuses what it is asked: a person mends it, and a restart does not."""


class ServiceAway(ServiceUnavailable):
    """A broker or a database that does not answer: waiting may help."""


def too_many_files(error: OSError) -> ServiceUnavailable:
    """The error of a process that may open no more files."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ServiceUnavailable(
        error.filename or "this shell",
        f"cannot be opened: {allowed:,} open files are allowed, and as many are open",
        "ulimit -n 4096, then run it again",
    )


class DiskFull(ServiceUnavailable):
    """A disk has no room: nothing but a person makes some."""


def disk_full(place: str) -> DiskFull:
    """The error of a write for which a disk has no room: what was committed before is whole."""
    return DiskFull(
        place,
        "cannot be written: its disk is full",
        "make room on it, then start again: what is not committed is read again",
    )


@contextmanager
def writing(place: object) -> Iterator[None]:
    """What a disk says to the block's writes, as an error that a person can mend."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise disk_full(str(place)) from None
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise too_many_files(error) from None
        raise ServiceUnavailable(
            str(error.filename or place), f"cannot be written: {error.strerror}",
            "mend the disk or the folder's rights, or name another folder; then run it again",
        ) from None  # fmt: skip


class TableLocked(LakehouseError):
    """Another process holds the table's writer lock."""

    exit_code = Exit.LOCKED


class TableDamaged(LakehouseError):
    """A table's newest commit or its history contradicts what a flow relies on."""

    exit_code = Exit.FAULT
