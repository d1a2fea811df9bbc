"""Lakes as earlier releases left them, made of one of today's."""

from __future__ import annotations

import json
from pathlib import Path

from lakehouse.storage.fingerprint import KEY
from lakehouse.storage.metadata import NOTE
from lakehouse.storage.properties import FINGERPRINTED


def without_fingerprints(table: str | Path) -> None:
    """Take the fingerprints out of a table's log: its release kept none."""
    for entry in Path(table, "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in entry.read_text("utf-8").splitlines()]
        for action in actions:
            info = action.get("commitInfo", {})
            if NOTE in info:
                note = json.loads(info[NOTE])
                note.pop(KEY, None)
                info[NOTE] = json.dumps(note)
            action.get("metaData", {}).get("configuration", {}).pop(FINGERPRINTED, None)
        entry.write_text("".join(json.dumps(action) + "\n" for action in actions), "utf-8")
