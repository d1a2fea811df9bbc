"""A verification as a person reads it: named checks, each with what was found and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from lakehouse.explorer.format import Format
from lakehouse.explorer.show import render


@dataclass(frozen=True)
class Check:
    """One part: whether it is right, what was found, what to do, and the first of what is odd."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    first: tuple[dict[str, Any], ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Field → value."""
        return asdict(self)


def show(checks: Iterable[Check]) -> None:
    """The checks as a table on stdout, and the first of what is odd below."""
    checks = [*checks]
    rows = [
        {"check": c.name, "": "ok" if c.ok else "FAILED", "found": c.detail, "fix": c.fix}
        for c in checks
    ]
    sys.stdout.write(render({"checks": pa.Table.from_pylist(rows)}, Format.table, 160))
    for check in checks:
        for row in check.first:
            told = ", ".join(f"{key} {value}" for key, value in row.items())
            sys.stdout.write(f"  {check.name}: {told}\n")
