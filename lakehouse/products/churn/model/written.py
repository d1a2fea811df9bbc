"""Predictions as the bytes of their records, a column at a time: no Python object is made of one.

They are, byte for byte, what the contract of predictions encodes: see ``Prediction`` there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.products.churn.contract import Prediction
from lakehouse.products.churn.model.scoring import Scorer, Scores

TOLD = 3
"""Contributions that a prediction tells."""
_UNITS = 10_000
_SHARES = pa.array([f"{n / _UNITS:.4f}" for n in range(_UNITS + 1)])
_SHARE = pa.decimal128(18, 4)
_ODD = r'["\\\x00-\x1f]'
"""What JSON text has otherwise than as it is."""
_encode = msgspec.json.Encoder().encode


def written(rows: pa.RecordBatch, scores: Scores, scorer: Scorer, now: datetime) -> list[bytes]:
    """The value of each customer's prediction, in their order.

    ``rows`` have the contract's columns and an address.
    """
    card, size = scorer.card, rows.num_rows
    if not size:
        return []
    threshold, shares = round(card.threshold * _UNITS), scores.rounded()
    ms = round(1e7 * scores.seconds / size)
    ids = rows.column("event_id")
    cells: dict[str, Any] = {
        "event_id": _text(_joined(ids, f"@{card.version}")),
        "event_time": _times(rows.column("event_time")),
        "input_event_id": _text(ids),
        "input_topic": _text(rows.column("topic")),
        "input_partition": rows.column("partition").cast(pa.string()),
        "input_offset": rows.column("offset").cast(pa.string()),
        "prediction": pc.if_else(pa.array(shares >= threshold), '"Yes"', '"No"'),
        "probability": _SHARES.take(pa.array(shares)),
        "threshold": _SHARES[threshold].as_py(),
        "model_version": _json(card.version),
        "contributions": contributions(rows, scores, scorer),
        "scored_at": _json(now),
        "inference_ms": f"{ms // _UNITS}.{ms % _UNITS:04}",
    }
    parts: list[Any] = []
    for name in Prediction.__struct_fields__:
        told = cells[name] if name in cells else _told(rows, name)
        parts += [("," if parts else "{") + _json(name) + ":", told]
    found: list[bytes] = _joined(*parts, "}").cast(pa.binary()).to_pylist()
    return found


def contributions(rows: pa.RecordBatch, scores: Scores, scorer: Scorer) -> pa.Array:
    """Of each row the features that say most, their values and shares: JSON within JSON text."""
    top, each = scores.top(TOLD), np.arange(rows.num_rows)
    used, at = np.unique(top, return_inverse=True)
    begun = pa.concat_arrays([_begun(rows, scorer.card.features[n].name) for n in used.tolist()])
    shares = np.take_along_axis(scores.contributions, top, 1)
    parts: list[Any] = []
    for place, share in zip(at.reshape(top.shape).T, shares.T, strict=True):
        of_row = begun.take(pa.array(place * rows.num_rows + each))
        parts += ['"[' if not parts else ",", of_row, _rounded(share), "}"]
    return _joined(*parts, ']"')


def _begun(rows: pa.RecordBatch, feature: str) -> pa.Array:
    """Each row's contribution of a feature as JSON within text, up to its share."""
    begin, end = f'{{\\"feature\\":\\"{feature}\\",\\"value\\":', ',\\"contribution\\":'
    return _told(rows, feature, lambda cell: f"{begin}{_json(cell)[1:-1]}{end}")


def _told(
    rows: pa.RecordBatch, name: str, made: Callable[[str], str] = lambda cell: cell
) -> pa.Array:
    """What is made of a column's cells as JSON, once for each that there is; no cell is null."""
    column = rows.column(name).dictionary_encode("encode")
    known = column.dictionary
    is_text = pa.types.is_string(known.type)
    cells = (known if is_text else known.cast(pa.string())).to_pylist()
    texts = ["null" if c is None else _json(c) if is_text else c for c in cells]
    return pa.array(map(made, texts), pa.string()).take(column.indices)


def _joined(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _text(column: pa.Array) -> pa.Array:
    """Texts as JSON, of which most are different."""
    if pc.any(pc.match_substring_regex(column, _ODD)).as_py():
        return pa.array([_json(one) for one in column.to_pylist()], pa.string())
    return _joined('"', column, '"')


def _times(column: pa.Array) -> pa.Array:
    """Moments as JSON, without a fraction where there is none."""
    told = pc.replace_substring(column.cast(pa.string()), " ", "T")
    return _joined('"', pc.replace_substring(told, ".000000Z", "Z"), '"')


def _rounded(shares: npt.NDArray[np.float32]) -> pa.Array:
    """Shares as text, with four digits."""
    units = np.rint(shares.astype(np.float64) * _UNITS).astype(np.int64)
    words = np.stack([units, units >> 63], axis=1)  # of 128 bits, the lower half first
    found = pa.Array.from_buffers(_SHARE, len(units), [None, pa.py_buffer(words.tobytes())])
    return found.cast(pa.string())


def _json(value: Any) -> str:
    return _encode(value).decode()
