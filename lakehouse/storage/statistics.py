"""What a Delta log tells of a file's rows: counts and bounds, by which readers leave it out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

_LONGEST = 64
"""Longer text has no statistics: a bound that is cut must be rounded up to stay one."""


def statistics(
    rows: pa.Table, bounds: list[int], *, of_numbers: bool = True
) -> list[dict[str, Any]]:
    """Rows, bounds and nulls of each part as a log has them; of columns that can be ordered.

    Without ``of_numbers`` of texts and times alone.
    """
    sizes = [b - a for a, b in pairwise(bounds)]
    names = [
        field.name
        for field in rows.schema
        if _is_ordered(field.type) and (of_numbers or _is_text_or_time(field.type))
    ]
    number = np.repeat(np.arange(len(sizes)), sizes)
    lacking = [name for name in names if rows[name].null_count]
    wanted = [*((name, "min_max") for name in names), *((name, "count") for name in lacking)]
    numbered = rows.select(names).append_column("", pa.array(number))
    grouped = numbered.group_by("", use_threads=False).aggregate(wanted)
    told: list[dict[str, Any]] = [
        {"numRecords": n, "minValues": {}, "maxValues": {}, "nullCount": dict.fromkeys(names, 0)}
        for n in sizes
    ]
    for name in names:
        found = grouped[f"{name}_min_max"].combine_chunks()
        low, high = (_bounds(found.field(end)) for end in ("min", "max"))
        for one, least, most in zip(told, low, high, strict=True):
            if least is not None and most is not None:
                one["minValues"][name], one["maxValues"][name] = least, most
    for name in lacking:
        for one, count in zip(told, grouped[f"{name}_count"].to_pylist(), strict=True):
            one["nullCount"][name] = one["numRecords"] - count
    return told


def merged(told: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics of two parts together; a bound that one of them lacks is lacking."""
    bounds = {
        side: {
            name: choose(value, more[side][name])
            for name, value in told[side].items()
            if name in more[side]
        }
        for side, choose in (("minValues", min), ("maxValues", max))
    }
    rows, nulls = told["numRecords"] + more["numRecords"], told["nullCount"]
    return {
        "numRecords": rows,
        **bounds,
        "nullCount": {name: count + nulls[name] for name, count in more["nullCount"].items()},
    }


def _is_ordered(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_null(kind))


def _is_text_or_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_temporal(kind))


def _bounds(values: pa.Array) -> list[Any]:
    """Bounds as JSON has them exactly; None where it cannot."""
    kind = values.type
    if pa.types.is_temporal(kind):
        text = values.cast(pa.string()).to_pylist()  # one call: a batch of one row has 40 of them
        return [None if t is None else t.replace(" ", "T") for t in text]
    found = values.to_pylist()
    if pa.types.is_string(kind):
        return [v if v is not None and len(v) <= _LONGEST else None for v in found]
    if pa.types.is_decimal(kind):
        exact = ((v, None if v is None else float(v)) for v in found)
        return [f if f is not None and Decimal(repr(f)) == v else None for v, f in exact]
    if pa.types.is_floating(kind):
        return [v if v is not None and math.isfinite(v) else None for v in found]
    return list(found)
