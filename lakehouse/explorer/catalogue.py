"""The lake's tables, opened read-only by delta-rs: no JVM, an answer in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakehouse.core.errors import TableDamaged, TableMissing, UsageError
from lakehouse.core.paths import Lake

LAYERS = ("bronze", "silver", "quarantine")
UNREADABLE = {"delta.enableDeletionVectors", "delta.columnMapping.mode"}


@dataclass(frozen=True)
class TableInfo:
    """One table: size in rows, files and bytes, and its newest commit."""

    name: str
    rows: int
    files: int
    bytes: int
    version: int
    committed: str
    partitions: str

    def as_dict(self) -> dict[str, Any]:
        """Field → value."""
        return asdict(self)


class Catalogue:
    """The tables under one root, now or as of a version or a time."""

    def __init__(self, root: str, version: int | None = None, at: datetime | None = None) -> None:
        self.lake, self._version, self._at = Lake(root), version, at

    def names(self) -> list[str]:
        """Every table there is: ``silver.sales_by_country``."""
        return sorted(self._find())

    def _find(self) -> Iterator[str]:
        for layer in LAYERS:
            folder = Path(self.lake.join(layer))
            if folder.is_dir():
                for path in folder.iterdir():
                    if (path / "_delta_log").is_dir():
                        yield f"{layer}.{path.name}"

    def open(self, name: str) -> DeltaTable:
        """The table at the catalogue's version or time; looked up by name, never by path."""
        if name not in self.names():
            known = ", ".join(self.names()) or "none yet: run `lakehouse demo` or `lakehouse run`"
            raise TableMissing(f"table {name}", "does not exist", f"tables are: {known}")
        try:
            table = DeltaTable(self.lake.table(name), version=self._version)
            if self._at is not None:
                table.load_as_version(self._at)
        except (DeltaError, OSError) as error:
            if self._version is not None or self._at is not None:
                raise UsageError(
                    f"table {name}", f"has no such version: {_line(error)}",
                    f"look at `lakehouse history {name}`",
                ) from None  # fmt: skip
            raise TableDamaged(
                f"table {name}", f"cannot be opened: {_line(error)}",
                "look at the newest file in its _delta_log folder",
            ) from None  # fmt: skip
        odd = UNREADABLE & set(table.metadata().configuration)
        if odd:
            raise TableDamaged(
                f"table {name}", f"uses {', '.join(odd)}", "rewrite it without that property"
            )
        return table

    def info(self, name: str) -> TableInfo:
        """What ``lakehouse tables`` shows of one table."""
        table = self.open(name)
        adds = table.get_add_actions(flatten=True)
        rows = sum(int(n or 0) for n in adds["num_records"].to_pylist())
        size = sum(int(n) for n in adds["size_bytes"].to_pylist())
        newest = table.history(1)[0]
        return TableInfo(
            name=name,
            rows=rows,
            files=adds.num_rows,
            bytes=size,
            version=int(table.version()),
            committed=_time(newest["timestamp"]),
            partitions=", ".join(table.metadata().partition_columns),
        )

    def history(self, name: str, limit: int) -> list[dict[str, Any]]:
        """The newest commits: version, time, operation, rows, and the note each carries."""
        rows = []
        for commit in self.open(name).history(limit):
            note = json.loads(commit.get("userMetadata") or "{}")
            rows.append(
                {
                    "version": commit.get("version"),
                    "time": _time(commit["timestamp"]),
                    "operation": commit.get("operation", ""),
                    "rows": note.get("rows"),
                    "note": json.dumps(note) if note else "",
                }
            )
        return rows


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
