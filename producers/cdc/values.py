"""A column's text, as every reader of Postgres gets it → its JSON value, as Debezium writes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a column's type is in JSON."""

    INTEGER = "a whole number"
    FRACTION = "a number with a fraction"
    BOOLEAN = "true or false"
    DECIMAL = "a decimal, as text"
    TIME = "a time with its zone, as text"
    TEXT = "text"


KINDS = {
    16: Kind.BOOLEAN,
    20: Kind.INTEGER, 21: Kind.INTEGER, 23: Kind.INTEGER, 26: Kind.INTEGER,
    700: Kind.FRACTION, 701: Kind.FRACTION,
    1184: Kind.TIME,
    1700: Kind.DECIMAL,
}  # fmt: skip
"""Postgres's type ids → kinds; every other type is text."""


def _time(text: str) -> str:
    """RFC 3339 in UTC; ``infinity`` and times before Christ stay as Postgres writes them."""
    if text.endswith("+00"):
        return f"{text[:-3].replace(' ', 'T', 1)}Z"
    return text


def _fraction(text: str) -> float | str:
    """A number; NaN and the infinities, which JSON lacks, stay text."""
    number = float(text)
    return number if math.isfinite(number) else text


READERS: dict[Kind, Callable[[str], Any]] = {
    Kind.INTEGER: int,
    Kind.FRACTION: _fraction,
    Kind.BOOLEAN: "t".__eq__,
    Kind.DECIMAL: str,
    Kind.TIME: _time,
    Kind.TEXT: str,
}
"""Kind → the function from a value's text; never called for null."""
