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
EXACT = 1_000_000
"""Of more rows a profile estimates: ten million are more than memory holds side by side."""
_SAMPLE = 100_000


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


def counting(statement: str) -> str:
    """How many rows the statement has."""
    return f"SELECT count(*) AS rows FROM {inner(statement)}"


def profile(statement: str, schema: pa.Schema, *, is_large: bool = False) -> str:
    """A row for each column: nulls, different values, least, greatest, and its shape, drawn.

    The shape of numbers and times is a histogram from least to greatest, of anything else the
    most frequent values' counts. Of two columns of one name the first is described.
    Where ``is_large`` different values are estimated, shapes are of a sample, and the columns'
    titles say so; all else is of every row.
    """
    names = dict.fromkeys(field.name for field in schema)
    fields = [schema.field(schema.names.index(name)) for name in names]
    sample = f" USING SAMPLE reservoir({_SAMPLE} ROWS) REPEATABLE (1)" if is_large else ""
    told = ", ".join(
        measure
        for place, field in enumerate(fields)
        for measure in _measures(place, field, is_large=is_large)
    )
    distinct, shape = (
        ("distinct, about", "shape of a sample") if is_large else ("distinct", "shape")
    )
    rows = " UNION ALL ".join(
        f'SELECT {place} AS place, {text(field.name)} AS "column", '
        f"{text(str(field.type))} AS type, "
        f"rows, rows - n{place} AS nulls, d{place} AS {identifier(distinct)}, "
        f"l{place} AS least, g{place} AS greatest, ({_shape(field)}) AS {identifier(shape)} "
        "FROM told"
        for place, field in enumerate(fields)
    )
    of = inner(statement) if is_large else "asked"
    return (
        f"WITH asked AS MATERIALIZED (SELECT * FROM {inner(statement)}{sample}), "
        f"told AS MATERIALIZED (SELECT count(*) AS rows, {told} FROM {of}) "
        f"SELECT * EXCLUDE (place) FROM ({rows}) ORDER BY place"
    )


def _measures(place: int, field: pa.Field[pa.DataType], *, is_large: bool) -> list[str]:
    import pyarrow as pa  # noqa: PLC0415  # who only sorts does without

    name = identifier(field.name)
    distinct = f"approx_count_distinct({name})" if is_large else f"count(DISTINCT {name})"
    least, most = (f"left(CAST({end}({name}) AS VARCHAR), 200)" for end in ("min", "max"))
    if pa.types.is_nested(field.type):
        least = most = "CAST(NULL AS VARCHAR)"
    return [
        f"count({name}) AS n{place}", f"{distinct} AS d{place}", f"{least} AS l{place}",
        f"{most} AS g{place}",
    ]  # fmt: skip


def _shape(field: pa.Field[pa.DataType]) -> str:
    import pyarrow as pa  # noqa: PLC0415  # who only sorts does without

    name, kind = identifier(field.name), field.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    number = f"CAST({name} AS DOUBLE)" if is_number else f"epoch(CAST({name} AS TIMESTAMP))"
    return _histogram(number) if is_number or is_time else _frequencies(name)


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
