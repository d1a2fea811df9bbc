"""The one scoring function: customers → probability, and what each feature contributed to it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakehouse.products.churn.model.card import Card
from lakehouse.products.churn.model.encoding import TRAIN_AGAIN, Encoding, ModelRefused

_DIGITS = 4
"""Of a probability and of a threshold, as the contract of predictions has them."""
SHARE = pa.decimal128(18, _DIGITS)
_AT_ONCE = 4096
"""Rows whose matrix stays in a processor's cache."""


@dataclass(frozen=True)
class Scores:
    """What a model says of some customers, in their order."""

    probability: npt.NDArray[np.float64]
    """Of leaving, from 0 to 1, not rounded."""
    contributions: npt.NDArray[np.float32]
    """Rows × features: shares of the log odds, which the card's base is added to."""
    seconds: float
    """What features and model took, for all of them."""

    def rounded(self) -> npt.NDArray[np.int64]:
        """Ten-thousandths, half to even: what a prediction says and is decided by."""
        found: npt.NDArray[np.int64] = np.rint(self.probability * 10**_DIGITS).astype(np.int64)
        return found

    def top(self, count: int) -> npt.NDArray[np.intp]:
        """The features that contributed most to each row, the greatest first."""
        size, each = np.abs(self.contributions), np.arange(len(self.contributions))
        found = np.empty((len(size), min(count, size.shape[1])), np.intp)
        for place in range(found.shape[1]):
            found[:, place] = size.argmax(axis=1)
            size[each, found[:, place]] = -1
        return found


def decimals(units: npt.NDArray[np.int64]) -> pa.Array:
    """Ten-thousandths as decimals of four digits."""
    words = np.stack([units, units >> 63], axis=1)  # of 128 bits, the lower half first
    return pa.Array.from_buffers(SHARE, len(units), [None, pa.py_buffer(words.tobytes())])


class Scorer:
    """A version of the model, ready to score; used by one thread at a time."""

    def __init__(self, card: Card, graph: bytes, place: str) -> None:
        """Raise ModelRefused where the compiled model cannot be loaded, or takes other columns."""
        import onnxruntime  # noqa: PLC0415  # missing, it is reported when it is needed

        self.card, self.encoding = card, Encoding(card.features)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are reported by us
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
            [takes], [gives] = self._session.get_inputs(), self._session.get_outputs()
        except Exception as error:  # noqa: BLE001  # its errors have no base of their own
            raise ModelRefused(
                place, f"is no model that can be run: {str(error)[:200]}", TRAIN_AGAIN
            ) from None
        asked = [takes.type, takes.shape[1:], gives.type, gives.shape[1:]]
        due = ["tensor(double)", [self.encoding.width], "tensor(float)", [len(card.features)]]
        if asked != due:
            raise ModelRefused(
                place, f"takes and gives {asked}, and by its card {due}", TRAIN_AGAIN
            )
        self._input, self._output = takes.name, [gives.name]

    def score(self, rows: pa.RecordBatch) -> Scores:
        """Scores of customers in the contract's columns; other columns are not looked at."""
        started = time.perf_counter()
        parts = [self._run(rows.slice(at, _AT_ONCE)) for at in range(0, rows.num_rows, _AT_ONCE)]
        given = np.concatenate(parts) if parts else np.empty((0, len(self.card.features)), "f4")
        odds = given.sum(axis=1, dtype=np.float64) + self.card.base
        return Scores(1 / (1 + np.exp(-odds)), given, time.perf_counter() - started)

    def _run(self, rows: pa.RecordBatch) -> npt.NDArray[np.float32]:
        matrix = self.encoding.matrix(rows)
        [found] = self._session.run(self._output, {self._input: matrix})
        return found  # type: ignore[no-any-return]  # the library has no types
