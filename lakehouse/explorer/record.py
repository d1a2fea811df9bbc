"""One record as it landed: its columns, its bytes where a table has them, and its Delta commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lakehouse.core.text import printable
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.storage.log import commits, note_of

_WIDTH = 16
_LONGEST = 64_000
"""Most bytes of a record that are drawn."""


@dataclass(frozen=True)
class Commit:
    """The commit that brought a row into its table."""

    table: str
    version: int
    time: str
    operation: str
    ends: str
    """Bronze's ends that it recorded, as partition: offset."""


def address(row: Mapping[str, Any]) -> str:
    """``topic[partition]@offset`` of a row that has its address; empty of any other."""
    if not {"topic", "partition", "offset"}.issubset(row):
        return ""
    return f"{row['topic']}[{row['partition']}]@{row['offset']}"


def raw(row: Mapping[str, Any]) -> dict[str, bytes]:
    """Which bytes of Kafka's record a row has: quarantine keeps them, bronze its columns."""
    return {name: row[name] for name in ("key", "value") if isinstance(row.get(name), bytes)}


def hexdump(data: bytes) -> Iterator[str]:
    """Sixteen bytes a line: place, hexadecimal, and the characters that are printable."""
    for start in range(0, min(len(data), _LONGEST), _WIDTH):
        part = data[start : start + _WIDTH]
        pairs = " ".join(f"{byte:02x}" for byte in part)
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{start:06x}  {pairs:<47}  {shown}"
    if len(data) > _LONGEST:
        yield f"… {len(data) - _LONGEST:,} more bytes"


def commit_of(catalogue: Catalogue, table: str, batch: int | None) -> Commit | None:
    """The commit that a batch's rows of bronze or quarantine came by; None where the log forgot it.

    Commits are halved, as later batches have later versions, until one has the number.
    """
    if batch is None:
        return None
    uri, low, high = catalogue.lake.table(table), 0, int(catalogue.open(table).version())
    while low <= high:
        middle = (low + high) // 2
        found = _batch_at(uri, middle, low)
        if found is None:  # no commit from here down to ``low`` has a batch, or the log ends
            low = middle + 1
            continue
        version, number, commit = found
        if number == batch and _is_first(commit):
            return _commit(table, commit)
        if number > batch:
            high = version - 1
        else:
            low = middle + 1
    return None


def _batch_at(uri: str, version: int, low: int) -> tuple[int, int, dict[str, Any]] | None:
    """The newest commit at or before a version that says its batch: version, batch, commit."""
    for commit in commits(uri, version):
        if commit["version"] < low:
            return None
        note = note_of(commit)
        number = note.get("batch", (note.get("ends") or {}).get("batch"))
        if isinstance(number, int) and _is_first(commit):
            return int(commit["version"]), number, commit
    return None


def _is_first(commit: Mapping[str, Any]) -> bool:
    """Whether a commit landed rows, rather than repeat the ends of one that did."""
    return "rows" in note_of(commit)


def _commit(table: str, commit: Mapping[str, Any]) -> Commit:
    ends = (note_of(commit).get("ends") or {}).get("next") or {}
    moment = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
    return Commit(
        table,
        int(commit["version"]),
        moment.isoformat(timespec="milliseconds"),
        printable(str(commit.get("operation", ""))),
        ", ".join(f"{partition}: {offset:,}" for partition, offset in ends.items()),
    )
