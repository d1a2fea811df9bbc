"""Rows into a file: CSV for spreadsheets, JSON or Parquet, by the file's ending."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.files import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("csv", "json", "parquet")
_MODE = 0o600
"""Rows may name persons: the file is its user's alone."""


def target(text: str) -> Path:
    """The file that a person names; UsageError where it cannot be made, or is there already."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise UsageError(text, "is in a home folder that nobody knows", "name it whole") from None
    if path.suffix.removeprefix(".").lower() not in FORMATS:
        ends = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(text, "has an ending that is no format", f"end it in one of {ends}")
    if path.exists() or path.is_symlink():
        raise UsageError(text, "is there already", "give another name; nothing is overwritten")
    if not path.parent.is_dir():
        raise UsageError(text, f"the folder {path.parent} is not there", "make it, or name another")
    return path


def export(rows: pa.Table, path: Path) -> int:
    """Write rows as the ending says, whole or not at all; how many.

    In CSV no text is a formula. JSON has money as text, and Parquet the types: both exactly.
    """
    form = path.suffix.removeprefix(".").lower()
    try:
        write_whole(path, _parquet(rows) if form == "parquet" else _text(rows, form), _MODE)
    except OSError as error:
        raise LakehouseError(
            str(path), f"cannot be written: {error.strerror or error}", "name another place"
        ) from None
    return int(rows.num_rows)


def _text(rows: pa.Table, form: str) -> bytes:
    from lakehouse.explorer.format import Format  # noqa: PLC0415  # a name is checked without
    from lakehouse.explorer.show import render  # noqa: PLC0415

    return render({"rows": rows}, Format(form)).encode("utf-8", "backslashreplace")


def _parquet(rows: pa.Table) -> memoryview:
    import pyarrow as pa  # noqa: PLC0415  # as above
    import pyarrow.parquet as pq  # noqa: PLC0415

    out = pa.BufferOutputStream()
    pq.write_table(rows, out)
    return memoryview(out.getvalue())
