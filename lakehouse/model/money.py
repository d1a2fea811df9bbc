"""Money as JSON writes it: an exact decimal, or why it is not one."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS, PLACES = 12, 4
"""Digits of a price before and after the point.

With a quantity of at most 10^9 a line is below 10^21, so a sum of 10^12 lines is below
10^33: DECIMAL(38,4) has room for it.
"""
PLAIN = rf"^(0|[1-9][0-9]{{0,{DIGITS - 1}}})(\.[0-9]{{1,{PLACES}}})?$"
"""JSON numbers that are a price as they stand."""
NOUGHTS = (rf"^([0-9]+\.[0-9]{{{PLACES}}})0+$", r"\1")
"""What to replace, and by what, in a price with more decimals, all of them 0: Postgres writes
so what it divided."""
NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
"""JSON's numbers."""

_PARTS = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")
_FAR = 12
"""Digits of an exponent that no number of digits in a record makes up for."""


def money_type() -> pa.DataType:
    """The type of a price in tables; earlier releases took 14 digits before the point."""
    import pyarrow as pa  # noqa: PLC0415  # a declaration alone does not need it

    return pa.decimal128(18, PLACES)


def exact(text: str) -> Decimal:
    """The price that a JSON number is, at scale 4 and never rounded; ValueError says why none.

    It looks at the digits only: Decimal itself rounds to 28 of them, refuses great
    exponents, and turns 5,000 digits into a whole number slowly or not at all.
    """
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError("is not a number")
    sign, whole, fraction, direction, exponent = (part or "" for part in parts.groups())
    written = (whole + fraction).rstrip("0")
    digits = written.lstrip("0")
    if not digits:
        return Decimal(0).scaleb(-PLACES)
    if sign:
        raise ValueError("is negative")
    before = len(whole) - (len(written) - len(digits)) + _shift(direction, exponent)
    if before > DIGITS:
        raise ValueError(f"has more than {DIGITS} digits before the point")
    if len(digits) - before > PLACES:
        raise ValueError(f"has more than {PLACES} decimals")
    return Decimal(digits.ljust(before + PLACES, "0")).scaleb(-PLACES)


def _shift(direction: str, exponent: str) -> int:
    """How far an exponent moves the point."""
    digits = exponent.lstrip("0")
    size = 10**_FAR if len(digits) > _FAR else int(digits or "0")
    return -size if direction == "-" else size
