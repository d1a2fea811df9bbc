"""DuckDB as a flow has it, for as long as the process lives."""

from lakehouse.storage.duck import Limits, opened


def connected(settings):
    """A connection to the lake that nobody closes, so without a folder to spill into."""
    silver, root = settings.silver, settings.lake.root
    return opened(Limits(silver.engine_memory, silver.engine_threads, folders=[root]))
