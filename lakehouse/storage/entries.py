"""Whether an entry of a Delta log is whole, as what it says of itself tells, and says what fits."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import UNSET, MsgspecError, Raw, Struct, UnsetType
from msgspec.json import Decoder

from lakehouse.core.text import whole_number
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


_MAKES = (b'{"metaData":', b'{"protocol":')
"""What the first commit has."""
_KINDS: dict[str, Any] = {
    "timestamp": int, "operation": str, "operationParameters": dict, "operationMetrics": dict,
}  # fmt: skip
LARGEST = 64 * 1024 * 1024
"""Bytes of a commit: one that adds a quarter of a million files has as many. Engines take some
times as much to read one."""
_DESCRIBED = LARGEST // 4
"""Bytes of what a commit says of itself."""
_LINES = LARGEST // 64
"""No action is so short that a commit has more."""
ODD = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MsgspecError,
)  # fmt: skip
"""What JSON raises that is cut, too deep, of another shape than an action's, or infinite."""
_TIMES = range(MS)


class Add(Struct, rename="camel"):
    """What is read here of an action that adds a file."""

    path: str
    data_change: bool = True
    stats: str | None = None

    def rows(self) -> int:
        """How many rows it says that the file has, for the size of a step; 0 where it does not."""
        try:
            return int(_ROWS(self.stats or "{}").num_records or 0)
        except ODD:
            return 0


class _Remove(Struct, rename="camel"):
    data_change: bool = True


class Action(Struct, rename="camel"):
    """A line of a commit; all of it must be JSON, but only these are ever made of it."""

    commit_info: Raw | UnsetType = UNSET
    add: Raw | UnsetType = UNSET
    remove: Raw | UnsetType = UNSET

    def described(self) -> Any:
        """The commit's description."""
        if self.commit_info is UNSET or len(self.commit_info) > _DESCRIBED:
            raise ValueError("is none, or says more than a commit does")
        return json.loads(bytes(self.commit_info))

    def added(self) -> Add | None:
        """The file that it adds."""
        return None if self.add is UNSET else _ADD(self.add)

    def removes_rows(self) -> bool:
        """Whether it takes out a file with rows that are in no other."""
        return self.remove is not UNSET and _REMOVE(self.remove).data_change


class _Statistics(Struct, rename="camel"):
    num_records: float | None = None


action_of = Decoder(Action).decode
"""A line of a commit; raises ODD."""
_ADD, _REMOVE = Decoder(Add).decode, Decoder(_Remove).decode
_ROWS = Decoder(_Statistics).decode


def lines_of(path: Path) -> list[bytes]:
    """The lines of a commit: text within JSON may hold what Python's text takes for a line's end.

    Raises OSError, and ValueError where there is too much of it.
    """
    with path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > LARGEST:
            raise ValueError(f"has {size:,} bytes, more than a commit has")
        data = file.read(LARGEST)
    if (count := data.count(b"\n")) > _LINES:
        raise ValueError(f"has {count:,} lines, more than a commit has")
    return data.splitlines()


def entry_fault(path: Path, version: int, *, whole: bool = True) -> str:
    """What is wrong with a log entry; all its lines are parsed where ``whole``."""
    try:
        lines = lines_of(path)
    except FileNotFoundError:
        return "is missing"
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    try:
        said = (line for line in lines[1:] if line.startswith(b'{"commitInfo"'))
        told = lines if whole else [*lines[:1], *said]
        found = [action for action in map(action_of, told) if action.commit_info is not UNSET]
        info = found[0].described() if found else None
        cut = info is None and whole and (version == 0 or bool(found) or not lines)
        cut = cut or not _last(lines).endswith(b"}") or _lacks_actions(lines, info or {})
        cut = cut or (
            version == 0 and not all(any(kind in line for line in lines) for kind in _MAKES)
        )
    except ODD:
        cut = True
    return f"is cut ({sum(map(len, lines))} bytes)" if cut else metadata_fault(info)


def _last(lines: list[bytes]) -> bytes:
    """The last line that says something."""
    return next((line for line in map(bytes.rstrip, reversed(lines)) if line), b"")


def commit_info_of(path: Path) -> dict[str, Any] | None:
    """A commit's commitInfo; None where its entry does not have it whole."""
    try:
        with path.open("rb") as lines:
            if os.fstat(lines.fileno()).st_size > LARGEST:
                return None
            for line in lines:
                if b'"commitInfo"' in line and (action := action_of(line)).commit_info is not UNSET:
                    return as_told(action.described())
    except (OSError, *ODD):
        return None
    return None


def is_undescribed(path: Path) -> bool:
    """Whether an entry is whole JSON without a commitInfo: another program may leave it out."""
    try:
        actions = [action_of(line).commit_info for line in lines_of(path)]
    except (OSError, *ODD):
        return False
    return bool(actions) and all(info is UNSET for info in actions)


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
    adds = (action_of(line).added() for line in lines if line.startswith(b'{"add":'))
    told = (_ROWS(add.stats or "{}").num_records for add in adds if add)
    return sum(math.inf if rows is None else rows for rows in told)
