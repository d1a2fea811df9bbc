"""Whether an entry of a Delta log is whole, as what it says of itself tells, and says what fits."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lakehouse.core.text import whole_number
from lakehouse.core.within import LARGEST
from lakehouse.storage.metadata import MS, metadata_of

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


_KINDS: dict[str, Any] = {
    "timestamp": int, "operation": str, "operationParameters": dict, "operationMetrics": dict,
}  # fmt: skip
ODD = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What JSON raises that is cut, too deep, of another shape than an action's, or infinite."""
_TIMES = range(MS)


def entry_fault(path: Path, version: int, *, whole: bool = True) -> str:
    """What is wrong with a log entry; all its lines are parsed where ``whole``."""
    try:
        if (size := path.stat().st_size) > LARGEST:
            return f"has {size:,} bytes, more than a commit has"
        data = path.read_bytes()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    lines = data.splitlines()
    try:
        told = lines if whole else [*lines[:1], *filter(_tells, lines[1:])]
        read = [json.loads(line) for line in told]
        found = (a["commitInfo"] for a in read if isinstance(a, dict) and "commitInfo" in a)
        info = next(found, None)
        cut = info is None and whole and (version == 0 or not is_undescribed(path))
        cut = cut or not data.rstrip().endswith(b"}") or _lacks_actions(lines, info or {})
        makes = b'{"metaData":' in data and b'{"protocol":' in data
        cut = cut or (version == 0 and not makes)
    except ODD:
        cut = True
    return f"is cut ({len(data)} bytes)" if cut else metadata_fault(info)


def commit_info_of(path: Path) -> dict[str, Any] | None:
    """A commit's commitInfo; None where its entry does not have it whole."""
    try:
        with path.open(encoding="utf-8") as lines:
            if os.fstat(lines.fileno()).st_size > LARGEST:
                return None
            for line in lines:
                if '"commitInfo"' in line:
                    return as_told(json.loads(line)["commitInfo"])
    except (OSError, *ODD):
        return None
    return None


def is_undescribed(path: Path) -> bool:
    """Whether an entry is whole JSON without a commitInfo: another program may leave it out."""
    try:
        if path.stat().st_size > LARGEST:
            return False
        actions = [json.loads(line) for line in path.read_bytes().splitlines()]
    except (OSError, *ODD):
        return False
    return bool(actions) and all(
        isinstance(action, dict) and "commitInfo" not in action for action in actions
    )


def as_told(info: Mapping[str, Any]) -> dict[str, Any]:
    """A commit's description; a value of the wrong type is empty, or 0."""
    known = {
        key: info[key] if isinstance(info.get(key), kind) else kind()
        for key, kind in _KINDS.items()
    }
    known["timestamp"] *= known["timestamp"] in _TIMES
    return {**info, **known}


def metadata_fault(info: Any) -> str:
    """What is wrong with the metadata that a commit carries."""
    try:
        metadata_of(info if isinstance(info, dict) else {})
    except ValueError as error:
        return str(error)
    return ""


def _tells(line: bytes) -> bool:
    return line.startswith(b'{"commitInfo"')


def _lacks_actions(lines: list[bytes], info: dict[str, Any]) -> bool:
    """Whether the commit has fewer actions, or rows, than it says."""
    metrics = as_told(info)["operationMetrics"]
    for action, names in _COUNTED.items():
        told = next((whole_number(metrics[name]) for name in names if name in metrics), None)
        if told and sum(line.startswith(action) for line in lines) < told:
            return True
    rows = _rows_told(info)
    return rows > 0 and _rows_added(lines) < rows


def _rows_told(info: dict[str, Any]) -> int:
    """How many rows Spark says that a write added; 0 of any other commit."""
    rows = whole_number(as_told(info)["operationMetrics"].get("numOutputRows"))
    return rows if rows and info.get("operation") == "WRITE" else 0


def _rows_added(lines: list[bytes]) -> float:
    """How many rows the added files have; infinite where one does not say."""
    adds = (json.loads(line)["add"] for line in lines if line.startswith(b'{"add":'))
    told = (json.loads(add.get("stats") or "{}").get("numRecords", math.inf) for add in adds)
    return float(sum(told))
