"""A bound on what this process may grow by, and what it gives back.

A small file can unpack to more than any machine has.
Engines do not count all that they allocate: DuckDB not what its text functions take, Arrow
nothing. Beyond the bound the system refuses memory, and they say so in an error. Linux only.
"""

from __future__ import annotations

import ctypes
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNITS = {"MB": 10**6, "GB": 10**9}


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""As malloc.h numbers them for mallopt."""
_LARGE = 2 * 2**20
_DONT_NEED = 4
"""As mman.h numbers it for madvise."""
_DATA, _SHARED = 5, 2
"""Fields of statm."""


def size_of(text: str) -> int:
    """Bytes of a setting such as ``1GB``."""
    found = re.fullmatch(r"([\d.]+)\s?(MB|GB)", text)
    if found is None:
        raise AssertionError("the setting's own pattern")
    return int(float(found[1]) * _UNITS[found[2]])


def growth(limit: str) -> int:
    """What a process may grow by whose engine has this limit: as much again, and 1 GB."""
    return 2 * size_of(limit) + _UNITS["GB"]


@contextmanager
def bounded(growth: int) -> Iterator[None]:
    """Let this process grow by so many bytes at most, in the block; a narrower bound holds on."""
    held = _statm(_DATA)
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = (held or 0) + growth
    if held is None or 0 <= before <= bound or 0 <= hard <= bound:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _statm(field: int) -> int | None:
    """Bytes of this process's memory of one kind; None if the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[field]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


def mapped() -> int:
    """Bytes of files that are mapped and in this process's memory; 0 where nobody says."""
    return _statm(_SHARED) or 0


def let_go(file: Path) -> None:
    """Take a mapped file's pages out of this process's memory; they stay in the system's cache.

    Only of a file that is mapped to be read: what reads it next finds the pages there again.
    """
    with suppress(OSError, AttributeError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for line in Path("/proc/self/maps").read_text("utf-8", "replace").splitlines():
            place, rights, *_, name = line.split(maxsplit=5)
            if name == str(file) and "w" not in rights:
                start, end = (int(half, 16) for half in place.split("-"))
                madvise(start, end - start, _DONT_NEED)


def give_back() -> None:
    """From here on, what this process frees goes back to the system, Arrow's batches too.

    Arrow's own allocator keeps freed batches, and so does glibc: each large piece that is freed
    raises the size up to which pieces lie in arenas. Of other C libraries nothing is asked.
    """
    import pyarrow as pa  # noqa: PLC0415  # not every process that is bounded has it

    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGE)
