"""What every verb begins and ends with: settings, and JSON on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.core.errors import TableDamaged
from lakehouse.core.files import make_for
from lakehouse.core.paths import check_made, check_root
from lakehouse.core.signals import Stopped, is_interrupt
from lakehouse.core.text import as_json, say

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings


def settings_of(
    config: Path | None, root: Path | None = None, *, logs: bool = True, is_made: bool = False
) -> Settings:
    """Settings for one command, and logging as they say where it ``logs``.

    TableMissing where a root is named that is not there, and must be.
    """
    from lakehouse.products.registry import load_settings

    settings = load_settings(config)
    if logs:
        from lakehouse.core.logging import configure_logging

        configure_logging(settings.logging.format, settings.logging.level)
    settings = settings.with_root(root) if root else settings
    check_root(settings.lake.root)
    make_for(settings.lake.access)
    if root and is_made:
        check_made(settings.lake.root)
    return settings


@contextmanager
def in_bounds(settings: Settings) -> Iterator[None]:
    """The block, which only reads, in the memory that it has; TableDamaged beyond it."""
    from lakehouse.core.memory import bounded, growth

    try:
        with bounded(growth(settings.explorer.memory_limit)):
            yield
    except MemoryError:
        raise TableDamaged(
            f"lake {settings.lake.root}",
            "a file of it takes more memory than there is for this verb",
            "`lakehouse doctor --deep` names the file; where it is yours, raise "
            "[explorer] memory_limit, else leave this lake alone",
        ) from None


@contextmanager
def saying_where_it_is_cut(text: str) -> Iterator[None]:
    """The block; the text is said where Ctrl-C or SIGTERM ends it."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | Stopped) or is_interrupt(error):
            say(text)
        raise


def write_json(value: Any) -> None:
    """A value as JSON on stdout."""
    write(as_json(value, indent=2) + "\n")


def write(text: str) -> None:
    """Data to stdout; a reader that left early (``| head``) is no fault."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
