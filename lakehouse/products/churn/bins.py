"""The bins in which inputs and scores are counted: by silver, and by the card of a model.

Training's ``histograms`` are feature → bin → rows, with the names of :data:`EDGES` and of the
other features, and ``probability`` for the score.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from decimal import Decimal

EDGES: dict[str, tuple[str, ...]] = {
    "tenure": ("1", "7", "13", "25", "37", "49", "61"),
    "MonthlyCharges": ("20", "30", "40", "50", "60", "70", "80", "90", "100", "110"),
    "TotalCharges": ("100", "250", "500", "1000", "1500", "2500", "4000", "6000"),
    "probability": ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"),
}
"""Number → where one bin ends and the next begins; a value at an edge is in the upper bin."""
BLANK = "blank"
"""The bin of a number that is not there."""


def labels(name: str) -> tuple[str, ...]:
    """The bins of a number, in order: ``below 1``, ``1 to 7``, …, ``from 61``."""
    edges = EDGES[name]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
    return (f"below {edges[0]}", *between, f"from {edges[-1]}")


def bin_of(name: str, value: str | int | float | Decimal | None) -> str:
    """The bin of a feature's value, or of ``probability``; a text is its own."""
    if name not in EDGES:
        return str(value)
    if value is None:
        return BLANK
    number = Decimal(str(value))
    if number.is_nan():
        return BLANK
    return labels(name)[bisect_right([Decimal(edge) for edge in EDGES[name]], number)]
