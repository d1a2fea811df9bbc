"""What tells a row of an answer from its neighbours, also when the answer is rebuilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from lakehouse.core.text import as_json
from lakehouse.explorer.analyses import charted
from lakehouse.explorer.keys import key_columns
from lakehouse.explorer.report import Chart

if TYPE_CHECKING:
    import pyarrow as pa


def names_of(rows: pa.Table, table: str = "", chart: Chart | None = None) -> list[str]:
    """The columns that name a row: a table's keys, or a picture's labels; all where none do."""
    chart = chart or charted(rows)
    labels = (*chart.labels, *filter(None, [chart.apart])) if chart else ()
    names = rows.schema.names
    declared = [*dict.fromkeys(key_columns(table) or labels)]
    is_told = declared and all(names.count(name) == 1 for name in declared)
    return declared if is_told else [*dict.fromkeys(names)]


def identities(rows: pa.Table, names: Sequence[str]) -> list[str]:
    """Of each row a short text; rows that ``names`` do not tell apart are told by all they hold."""
    found = _digests(rows, names)
    return found if len({*found}) == len(found) else _digests(rows, rows.schema.names)


def _digests(rows: pa.Table, names: Sequence[str]) -> list[str]:
    kept = rows.select([rows.schema.names.index(name) for name in names])
    return [sha256(as_json([*row.values()]).encode()).hexdigest()[:16] for row in kept.to_pylist()]


def place_of(rows: pa.Table, row: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The first row that has the same names; None where none has."""
    import pyarrow as pa  # noqa: PLC0415  # the first screen comes before the engine
    import pyarrow.compute as pc  # noqa: PLC0415  # as above

    if not names or not {*names} <= {*rows.schema.names} & {*row}:
        return None
    same = pa.array([True] * rows.num_rows, pa.bool_())
    for name in names:
        column = rows.column(rows.schema.names.index(name))
        try:
            wanted = pa.scalar(row[name], column.type)
            here = pc.is_null(column) if row[name] is None else pc.equal(column, wanted)
        except pa.ArrowException:  # of a nested column nothing is compared
            continue
        same = pc.and_(same, pc.fill_null(here, False))
    place = pc.index(same, True).as_py()
    return None if place < 0 else int(place)
