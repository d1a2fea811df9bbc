"""Predictions as the bytes of their records, a column at a time: no Python object is made of one.

They are, byte for byte, what the contract of predictions encodes: see ``Prediction`` there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain, groupby
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.products.churn.contract import Prediction
from lakehouse.products.churn.model.scoring import Scorer, Scores, decimals

TOLD = 3
"""Contributions that a prediction tells."""
_UNITS = 10_000
_MOST = 2 * _UNITS
_TEXTS = decimals(np.arange(-_MOST, _MOST + 1)).cast(pa.string())
"""Of ten-thousandths from ``-_MOST`` to ``_MOST``."""
_DAY = 86_400
_THREE = pa.array([*(f"{n:03}" for n in range(1_000)), ""])
_POINT = pa.array([*(f".{n:03}" for n in range(1_000)), ""])
"""Of thousandths; the last is that of a moment without a fraction."""
_CLOCK = pa.array(np.arange(_DAY, dtype=np.int32)).cast(pa.time32("s")).cast(pa.string())
"""The time of day of each second."""
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
    ids = _text(rows.column("event_id"))
    cells: dict[str, Sequence[Any]] = {
        "event_id": ('"', ids, f"@{_json(card.version)[1:]}"),
        "event_time": _time(rows.column("event_time")),
        "input_event_id": ('"', ids, '"'),
        "input_offset": (rows.column("offset").cast(pa.string()),),
        "customerID": ('"', _text(rows.column("customerID")), '"'),
        "prediction": (pc.if_else(pa.array(shares >= threshold), '"Yes"', '"No"'),),
        "probability": (as_text(shares),),
        "threshold": (_TEXTS[threshold + _MOST].as_py(),),
        "model_version": (_json(card.version),),
        "contributions": _contributions(rows, scores, scorer),
        "scored_at": (_json(now),),
        "inference_ms": (f"{ms // _UNITS}.{ms % _UNITS:04}",),
    }
    parts: list[Any] = []
    for name in Prediction.__struct_fields__:
        told = cells.get(name) or (_told(rows, name.removeprefix("input_")),)
        parts += [("," if parts else "{") + _json(name) + ":", *told]
    found: list[bytes] = _joined(*parts, "}").cast(pa.binary()).to_pylist()
    return found


def _contributions(rows: pa.RecordBatch, scores: Scores, scorer: Scorer) -> Sequence[Any]:
    """Of each row the features that say most, their values and shares: JSON within JSON text."""
    top, (begun, at) = scores.top(TOLD), _begun(rows, scorer)
    shares = np.take_along_axis(scores.contributions, top, 1).astype(np.float64)
    places, units = np.take_along_axis(at, top, 1), np.rint(shares * _UNITS).astype(np.int64)
    parts: list[Any] = []
    for place, share in zip(places.T, units.T, strict=True):
        begin = '"[' if not parts else "},"
        parts += [begin, begun.take(pa.array(place)), as_text(share)]
    return [*parts, '}]"']


def _begun(rows: pa.RecordBatch, scorer: Scorer) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """Contributions up to their shares, one for each value; by row and feature, which it is."""
    features = scorer.card.features
    texts, at, count = [], np.empty((len(features), rows.num_rows), np.int32), 0
    for place, feature in zip(at, features, strict=True):
        column = _coded(rows.column(feature.name))
        np.add(column.indices.to_numpy(), count, out=place)
        count += len(column.dictionary)
        begin, end = f'{{\\"feature\\":\\"{feature.name}\\",\\"value\\":', ',\\"contribution\\":'
        cells = pc.replace_substring(_cells(column.dictionary), "\\", "\\\\")
        texts.append(_joined(begin, pc.replace_substring(cells, '"', '\\"'), end))
    return pa.concat_arrays(texts), at.T


def _told(rows: pa.RecordBatch, name: str) -> pa.Array:
    """A column of which many values are alike, as JSON."""
    column = _coded(rows.column(name))
    return _cells(column.dictionary).take(column.indices)


def _coded(column: pa.Array) -> pa.DictionaryArray:
    is_coded = pa.types.is_dictionary(column.type)
    return column if is_coded else column.dictionary_encode("encode")


def _cells(known: pa.Array) -> pa.Array:
    """Texts or numbers as JSON."""
    if pa.types.is_string(known.type):
        return pa.array(map(_json, known.to_pylist()), pa.string())
    return known.cast(pa.string()).fill_null("null")


def _joined(*parts: Any) -> pa.Array:
    """Texts of each row one after the other; those that are of every row are joined before."""
    alike = (
        ("".join(told),) if is_one else told
        for is_one, told in groupby(parts, lambda part: isinstance(part, str))
    )
    return pc.binary_join_element_wise(*chain.from_iterable(alike), "")


def _text(column: pa.Array) -> pa.Array:
    """Texts within JSON's quotes, of which most are different."""
    if pc.any(pc.match_substring_regex(column, _ODD)).as_py():
        return pa.array([_json(one)[1:-1] for one in column.to_pylist()], pa.string())
    return column


def _time(column: pa.Array) -> Sequence[Any]:
    """Moments as JSON, without a fraction where there is none."""
    seconds, micros = np.divmod(column.cast(pa.int64()).to_numpy(), 1_000_000)
    days, seconds = np.divmod(seconds, _DAY)
    thousandths, rest = np.divmod(micros, 1_000)
    thousandths[micros == 0] = rest[micros == 0] = 1_000
    dates = pa.array(days.astype(np.int32)).cast(pa.date32()).dictionary_encode()
    date = dates.dictionary.cast(pa.string()).take(dates.indices)
    fraction = (_POINT.take(pa.array(thousandths)), _THREE.take(pa.array(rest)))
    return ('"', date, "T", _CLOCK.take(pa.array(seconds)), *fraction, 'Z"')


def as_text(shares: npt.NDArray[np.int64]) -> pa.Array:
    """Ten-thousandths as text, with four digits."""
    if not len(shares) or np.abs(shares).max() > _MOST:
        return decimals(shares).cast(pa.string())
    return _TEXTS.take(pa.array(shares + _MOST))


def _json(value: Any) -> str:
    return _encode(value).decode()
