"""DuckDB as a flow has it, and as an audit does, for as long as the process lives."""

import tempfile
from functools import cache

from lakehouse.silver.sketch import with_sketches
from lakehouse.storage.duck import Limits, opened


@cache
def _engine(memory, threads):
    """One for all lakes of a process, each below one folder: a new one takes 20 ms."""
    return opened(Limits(memory, threads, folders=[tempfile.gettempdir()]))


def connected(settings):
    """A connection to the lake that nobody closes, so without a folder to spill into."""
    silver = settings.silver
    return _engine(silver.engine_memory, silver.engine_threads).cursor()


@cache
def _audits(memory):
    connection = opened(Limits(memory, folders=[tempfile.gettempdir()], is_in_order=False))
    with_sketches(connection)
    return connection


def auditing(settings):
    """A connection to the lake as an audit has it, closed by its ``with``; it does not spill."""
    return _audits(settings.silver.engine_memory).cursor()
