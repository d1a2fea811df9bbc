"""Lakes as earlier releases left them, made of one of today's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lakehouse.storage.fingerprint import KEY
from lakehouse.storage.metadata import NOTE
from lakehouse.storage.properties import FINGERPRINTED
from tests.support.logs import retell


def without_fingerprints(table: str | Path) -> None:
    """Take the fingerprints out of a table's log: its release kept none."""
    retell(table, _without_fingerprints)


def _without_fingerprints(action: dict[str, Any]) -> None:
    info = action.get("commitInfo", {})
    if NOTE in info:
        note = json.loads(info[NOTE])
        note.pop(KEY, None)
        info[NOTE] = json.dumps(note)
    action.get("metaData", {}).get("configuration", {}).pop(FINGERPRINTED, None)
