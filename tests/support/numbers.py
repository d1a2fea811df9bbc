"""Settings that commit as often as can be, for a table of numbers."""

import pyarrow as pa

from tests.conftest import settings_at

SCHEMA = pa.schema([pa.field("n", pa.int64())])


def settings(root):
    """A checkpoint at each commit, nothing synced: as many of them as can be."""
    found = settings_at(root)
    table = found.table.model_copy(update={"checkpoint_interval": 1})
    publish = found.publish.model_copy(update={"fsync": False})
    return found.model_copy(update={"table": table, "publish": publish})
