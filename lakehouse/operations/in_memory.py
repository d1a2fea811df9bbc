"""A bound on the memory of verbs that write: a file of others may unpack to more than any has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import duckdb

from lakehouse.core.errors import TableDamaged
from lakehouse.core.memory import bounded, growth
from lakehouse.core.text import one_line
from lakehouse.settings.settings import Settings

_P = ParamSpec("_P")
_T = TypeVar("_T")


def in_memory(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """The operation, one of whose arguments is the settings, :func:`within_memory`."""

    @wraps(work)
    def run(*given: _P.args, **named: _P.kwargs) -> _T:
        settings = next(one for one in (*given, *named.values()) if isinstance(one, Settings))
        with within_memory(settings):
            return work(*given, **named)

    return run


@contextmanager
def within_memory(settings: Settings) -> Iterator[None]:
    """The block, in twice the memory that a reading verb has; TableDamaged beyond it.

    It starts no other program: that would have the bound too.
    """
    try:
        with bounded(2 * growth(settings.silver.engine_memory)):
            yield
    except (MemoryError, duckdb.OutOfMemoryException) as error:
        raise TableDamaged(
            f"lake {settings.lake.root}",
            f"a file of it takes more memory than there is for this verb: {one_line(error, 300)}",
            "`lakehouse doctor --deep` names the file; where it is yours, raise "
            "[silver] engine_memory, else leave this lake alone",
        ) from None
