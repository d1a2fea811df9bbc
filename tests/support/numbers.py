"""Settings that commit as often as can be, for a table of numbers."""

import pyarrow as pa

from tests.conftest import settings_at

SCHEMA = pa.schema([pa.field("n", pa.int64())])


def settings(root):
    """A checkpoint at each commit, nothing synced: as many of them as can be."""
    often = {"checkpoint_interval": 1}
    return settings_at(root).changed(table=often, publish={"fsync": False})
