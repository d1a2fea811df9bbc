"""What was sent against what is found: the last table of a demo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from lakehouse.explorer.format import Format
from lakehouse.explorer.show import render


@dataclass(frozen=True)
class Line:
    """One kind of event: how many there must be, and how many are where they belong."""

    what: str
    place: str
    due: int | str
    found: int | str

    @property
    def holds(self) -> bool:
        """Whether the two agree."""
        return self.due == self.found


def show_account(lines: Sequence[Line]) -> None:
    """The lines as a table on stdout."""
    rows = [
        {
            "what": line.what, "where it belongs": line.place, "due": line.due,
            "found": line.found, "": "ok" if line.holds else "DIFFERS",
        }
        for line in lines
    ]  # fmt: skip
    sys.stdout.write(render({"produced_=_landed": pa.Table.from_pylist(rows)}, Format.table, 132))
