"""Processes below one of ours, of which any may end while they are looked at."""

from collections.abc import Iterator
from contextlib import suppress

import psutil


def commands_below(process: psutil.Process) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Every process that it started, with its command line; none that has ended, reaped or not."""
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            yield child, child.cmdline()
