"""The output formats, as the command line offers them, and how a whole number is written."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    md = "md"


_NAMES = ("_id", "year")
"""Ends of columns whose whole numbers name something."""


def whole(value: int, column: str = "") -> str:
    """A whole number with separators, but one that names something as it is."""
    return str(value) if column.endswith(_NAMES) else f"{value:,}"
