"""Whether an entry of a Delta log is whole, as what it says of itself tells."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_COUNTED = {
    b'{"add":': (
        "num_added_files", "numFilesAdded", "num_target_files_added", "numRestoredFile",
        "numAddedFiles", "numTargetFilesAdded", "numRestoredFiles",
    ),
    b'{"remove":': (
        "num_removed_files", "numFilesRemoved", "num_target_files_removed", "numRemovedFile",
        "numRemovedFiles", "numTargetFilesRemoved",
    ),
}  # fmt: skip
"""Actions, and the metrics by which delta-rs or Spark says how many a commit has.

Spark's ``numFiles`` is not among them: it counts empty files, which are not committed.
"""


def entry_fault(path: Path, version: int, *, whole: bool = True) -> str:
    """What is wrong with a log entry; all its lines are parsed where ``whole``."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return "is missing"
    lines = data.splitlines()
    try:
        read = [json.loads(line) for line in (lines if whole else lines[:1])]
        found = (a["commitInfo"] for a in read if isinstance(a, dict) and "commitInfo" in a)
        info = next(found, None)
        cut = whole and info is None
        cut = cut or not data.rstrip().endswith(b"}") or _lacks_actions(lines, info or {})
        makes = b'{"metaData":' in data and b'{"protocol":' in data
        cut = cut or (version == 0 and not makes)
    except (ValueError, KeyError, TypeError):
        cut = True
    return f"is cut ({len(data)} bytes)" if cut else ""


def _lacks_actions(lines: list[bytes], info: dict[str, Any]) -> bool:
    """Whether the commit has fewer actions, or rows, than it says."""
    metrics = info.get("operationMetrics") or {}
    for action, names in _COUNTED.items():
        told = next((str(metrics[name]) for name in names if name in metrics), "0")
        if told.isdigit() and sum(line.startswith(action) for line in lines) < int(told):
            return True
    rows = _rows_told(info)
    return rows > 0 and _rows_added(lines) < rows


def _rows_told(info: dict[str, Any]) -> int:
    """How many rows Spark says that a write added; 0 of any other commit."""
    rows = str((info.get("operationMetrics") or {}).get("numOutputRows", ""))
    return int(rows) if info.get("operation") == "WRITE" and rows.isdigit() else 0


def _rows_added(lines: list[bytes]) -> float:
    """How many rows the added files have; beyond every number where one does not say it."""
    adds = (json.loads(line)["add"] for line in lines if line.startswith(b'{"add":'))
    told = (json.loads(add.get("stats") or "{}").get("numRecords", math.inf) for add in adds)
    return float(sum(told))
