"""Delta logs as another program might have written them."""

import json
from pathlib import Path

from deltalake import DeltaTable

from lakehouse.storage.log import forget_before


def retold(log_entry, change):
    """Each action of a commit, changed in place by ``change``."""
    actions = [json.loads(line) for line in log_entry.read_text("utf-8").splitlines()]
    for action in actions:
        change(action)
    log_entry.write_text("".join(json.dumps(action) + "\n" for action in actions), "utf-8")


def retell(uri, change):
    """Each action of each commit of a table, changed in place by ``change``."""
    for log_entry in Path(uri, "_delta_log").glob("*.json"):
        retold(log_entry, change)


def shorten(uri):
    """As upkeep does: a checkpoint at the newest version, and nothing before it."""
    table = DeltaTable(uri)
    table.create_checkpoint()
    forget_before(Path(uri), table.version())
