"""Reads a file of customers, comma-separated, with the columns of IBM's Telco file."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from lakehouse.core.errors import UsageError
from lakehouse.core.text import whole_number
from lakehouse.model.money import exact
from lakehouse.products.churn.contract import FEATURES

COLUMNS = ("customerID", *FEATURES, "Churn")
OPTIONAL = frozenset({"TotalCharges", "Churn"})
_WHOLE, _MONEY = ("SeniorCitizen", "tenure"), ("MonthlyCharges", "TotalCharges")
_REMEDY = "name a file with IBM's columns, comma-separated, plain or .gz"


def digest_of(path: Path) -> str:
    """SHA-256 of the file's bytes, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(str(path), f"cannot be read: {error.strerror}", _REMEDY) from None


def count_rows(path: Path) -> int:
    """How many rows the file has below its header."""
    return sum(1 for _ in rows(path))


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Each row as an event's fields: numbers as numbers, blanks of optional columns left out.

    What is no number stays text, and a row of another length has its cells under ``cells``: the
    contract refuses both. UsageError where a column is missing, or the file cannot be read.
    """
    with _reading(path) as file:
        reader = csv.reader(file, strict=True)
        header = [name.strip() for name in next(reader, [])]
        if missing := [n for n in COLUMNS if n not in {*header} | OPTIONAL]:
            optional = " and ".join(sorted(OPTIONAL))
            raise UsageError(
                str(path), f"has no column {', '.join(missing)}{_instead(header, missing)}",
                f"let its first line name {', '.join(COLUMNS)}, separated by commas; {optional} "
                "may be left out",
            )  # fmt: skip
        if twice := [n for n in COLUMNS if header.count(n) > 1]:
            raise UsageError(
                str(path), f"names column {', '.join(twice)} more than once",
                "leave one of each: nobody can tell which is meant",
            )  # fmt: skip
        for cells in reader:
            if cells:
                yield _row(header, cells)


def _instead(header: list[str], missing: list[str]) -> str:
    """What the first line has in the place of names: other cases, or no commas."""
    if len(header) == 1:
        return f"; its first line is {header[0][:60]!r}"
    wanted = {name.lower() for name in missing}
    found = [name for name in header if name.lower() in wanted]
    return f"; it has {', '.join(map(repr, found))}" if found else ""


def _row(header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        return {"cells": cells}
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    for name in _WHOLE:
        number = whole_number(row[name].strip())
        row[name] = row[name] if number is None else number
    for name in _MONEY:
        try:
            row[name] = exact(row[name].strip())
        except (KeyError, ValueError):
            pass
    return {n: v for n, v in row.items() if not (n in OPTIONAL and _is_blank(v))}


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


@contextmanager
def _reading(path: Path) -> Iterator[TextIO]:
    try:
        with (
            gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw,
            io.TextIOWrapper(raw, "utf-8-sig", newline="") as text,
        ):
            yield text
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(str(path), f"cannot be read: {error}", _REMEDY) from None
