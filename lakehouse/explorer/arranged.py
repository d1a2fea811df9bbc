"""One SELECT made of another: its rows sorted, filtered, or described column by column.

Whatever a face does with rows it asks of the engine again: so it means every row, not only those
that are on the screen, and money is compared as money.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse.core.sql import identifier, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

BLOCKS = "▁▂▃▄▅▆▇█"
_BINS = 12


def inner(statement: str) -> str:
    """A statement as a FROM item; a comment at its end may not swallow what follows."""
    return f"({statement.rstrip().rstrip(';')}\n)"


def arranged(
    statement: str,
    columns: Sequence[str],
    *,
    sort: str = "",
    is_descending: bool = False,
    wanted: str = "",
) -> str:
    """The statement's rows of which any column has the text ``wanted``, by the column ``sort``."""
    if not (sort or wanted):
        return statement
    sql = f"SELECT * FROM {inner(statement)}"
    if wanted:
        has = (
            f"contains(lower(CAST({identifier(c)} AS VARCHAR)), lower({text(wanted)}))"
            for c in columns
        )
        sql += f" WHERE {' OR '.join(has)}"
    if sort:
        sql += f" ORDER BY {identifier(sort)} {'DESC' if is_descending else 'ASC'} NULLS LAST"
    return sql


def profile(statement: str, schema: pa.Schema) -> str:
    """A row for each column: nulls, different values, least, greatest, and its shape, drawn.

    The shape of numbers and times is a histogram from least to greatest, of anything else the
    most frequent values' counts. Of two columns of one name the first is described.
    """
    names = dict.fromkeys(field.name for field in schema)
    parts = [
        _described(place, schema.field(schema.names.index(n))) for place, n in enumerate(names)
    ]
    return (
        f"WITH asked AS MATERIALIZED (SELECT * FROM {inner(statement)}) "
        f"SELECT * EXCLUDE (place) FROM ({' UNION ALL '.join(parts)}) ORDER BY place"
    )


def _described(place: int, field: pa.Field[pa.DataType]) -> str:
    import pyarrow as pa  # noqa: PLC0415  # who only sorts does without

    name, kind = identifier(field.name), field.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    number = f"CAST({name} AS DOUBLE)" if is_number else f"epoch(CAST({name} AS TIMESTAMP))"
    shape = _histogram(number) if is_number or is_time else _frequencies(name)
    least, most = (f"left(CAST({end}({name}) AS VARCHAR), 200)" for end in ("min", "max"))
    if pa.types.is_nested(kind):
        least = most = "CAST(NULL AS VARCHAR)"
    return (
        f'SELECT {place} AS place, {text(field.name)} AS "column", {text(str(kind))} AS type, '
        f"count(*) AS rows, count(*) - count({name}) AS nulls, "
        f'count(DISTINCT {name}) AS "distinct", '
        f"{least} AS least, {most} AS greatest, ({shape}) AS shape FROM asked"
    )


def _histogram(number: str) -> str:
    values = f"SELECT {number} AS v FROM asked WHERE isfinite({number})"
    bin_ = (
        f"CASE WHEN high > low THEN least({_BINS - 1}, "
        f"CAST(floor((v - low) / (high - low) * {_BINS}) AS BIGINT)) ELSE 0 END"
    )
    ends = f"SELECT min(v) AS low, max(v) AS high FROM ({values})"
    return _drawn(
        f"SELECT bin AS place, count(v) AS n FROM range({_BINS}) AS bins(bin) LEFT JOIN "
        f"(SELECT v, {bin_} AS bin FROM ({values}), ({ends})) USING (bin) GROUP BY bin"
    )


def _frequencies(name: str) -> str:
    return _drawn(
        f"SELECT -count(*) AS place, count(*) AS n FROM asked WHERE {name} IS NOT NULL "
        f"GROUP BY {name} ORDER BY place LIMIT {_BINS}"
    )


def _drawn(counts: str) -> str:
    """A block for each count ``n``, in order of ``place``; the greatest is the highest."""
    return (
        f"SELECT string_agg(CASE WHEN n = 0 THEN ' ' ELSE substr('{BLOCKS}', "
        "1 + CAST(floor(7.0 * n / most) AS INTEGER), 1) END, '' ORDER BY place) "
        f"FROM (SELECT *, max(n) OVER () AS most FROM ({counts}))"
    )
