"""What a product says, in words of its own, that its silver tables must hold.

A product's ``recompute`` module gives ``RECOMPUTES``: name of a contract → :class:`Recomputes`.
A contract that it leaves out is held against its declarations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakehouse.model.witness import Witness

WHOLE = "CAST(replace(CAST({} AS VARCHAR), '.', '') AS HUGEINT)"
"""Money as ten-thousandths: its digits, since no product with 10,000 has room for them."""


@dataclass(frozen=True)
class Recompute:
    """What one silver table must hold: its keys, and SQL over ``counted``."""

    name: str
    keys: tuple[str, ...]
    sql: str
    by: str = ""
    """A column of ``counted`` and of the table, where no two values of it meet in a row: what is
    larger than memory is compared a part of its values at a time."""


@dataclass(frozen=True)
class Recomputes:
    """What the audit holds one product's tables against."""

    counted: str
    """SQL of the rows of ``bronze_then``, bronze as of a version, that count; ends in WHERE."""
    tables: Sequence[Recompute]
    witness: Witness
    is_declared: bool = False
    """Whether it is made of the declarations that made the tables: a fault there is in both."""
