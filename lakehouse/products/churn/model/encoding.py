"""Customers as the numbers that a model takes: the same function for training and for scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakehouse.core.errors import LakehouseError
from lakehouse.products.churn.contract import CUSTOMERS, FEATURES

Matrix = npt.NDArray[np.float64]
_FEW = 32
"""Rows up to which plain Python is faster than Arrow."""


TRAIN_AGAIN = "train one: lakehouse churn train; or promote another: lakehouse churn models"


class ModelRefused(LakehouseError):
    """A model that cannot be used as it is: its files are not what they must be."""


class Feature(msgspec.Struct, frozen=True):
    """A column of the contract that a model takes."""

    name: str
    values: tuple[str, ...] = ()
    """What a text may be, in the order of their columns; none of a number."""


def is_text(name: str) -> bool:
    """Whether the contract's column is text; KeyError where there is none."""
    return bool(pa.types.is_string(CUSTOMERS.schema.field(name).type))


def check_features(features: Sequence[Feature], place: str) -> None:
    """ModelRefused where a model takes what the contract's customers do not have."""
    for feature in features:
        if feature.name not in FEATURES:
            fault = f"takes {feature.name!r}, which customers do not have"
        elif is_text(feature.name) != bool(feature.values):
            kinds = ("a number", "text")
            wanted, known = kinds[bool(feature.values)], kinds[is_text(feature.name)]
            fault = f"takes {feature.name!r} as {wanted}, and customers have it as {known}"
        else:
            continue
        raise ModelRefused(
            place, f"{fault} (contract version {CUSTOMERS.version})",
            TRAIN_AGAIN,
        )  # fmt: skip


def coded(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with each text feature as a dictionary: looked up once, asked for many times."""
    told = dict(zip(rows.schema.names, rows.columns, strict=True))
    told |= {name: told[name].dictionary_encode() for name in FEATURES if is_text(name)}
    return pa.RecordBatch.from_pydict(told)


def numbers(column: pa.Array) -> Matrix:
    """A column of numbers; 0 where there is none, as of a customer who was charged nothing yet."""
    if len(column) <= _FEW:
        return np.array([0.0 if cell is None else float(cell) for cell in column.to_pylist()])
    found: Matrix = column.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
    return found


class Encoding:
    """Which columns a model's matrix has: one for each value of a text, then one a number.

    The last column is 1 where a text is not one that was trained on; no tree asks for it.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        self._texts: list[tuple[str, dict[str | None, int]]] = []
        self._numbers: list[tuple[str, int]] = []
        self.groups: list[int] = []
        """Of each column the feature that it says something of."""
        for place, feature in enumerate(features):
            if feature.values:
                at = len(self.groups)
                self._texts.append(
                    (feature.name, {v: at + n for n, v in enumerate(feature.values)})
                )
                self.groups += [place] * len(feature.values)
        for place, feature in enumerate(features):
            if not feature.values:
                self._numbers.append((feature.name, len(self.groups)))
                self.groups.append(place)
        self.width = len(self.groups) + 1

    def matrix(self, rows: pa.RecordBatch) -> Matrix:
        """Rows × :attr:`width`; numbers are rounded to 32 bits, as scikit-learn's trees do."""
        found = np.zeros((rows.num_rows, self.width))
        cells, first = found.reshape(-1), np.arange(rows.num_rows) * self.width
        for name, places in self._texts:
            cells[first + self._places(rows.column(name), places)] = 1
        for name, place in self._numbers:
            found[:, place] = numbers(rows.column(name)).astype(np.float32)
        return found

    def _places(
        self, column: pa.Array, places: Mapping[str | None, int]
    ) -> list[int] | npt.NDArray[np.int64]:
        """The matrix's column of each cell."""
        unknown = self.width - 1
        if len(column) <= _FEW and pa.types.is_string(column.type):
            return [places.get(cell, unknown) for cell in column.to_pylist()]
        known = column.dictionary_encode()
        told = [places.get(cell, unknown) for cell in known.dictionary.to_pylist()]
        found: npt.NDArray[np.int64] = np.array([*told, unknown])[
            known.indices.fill_null(len(told)).to_numpy()
        ]
        return found
