"""Renders declared aggregates as SQL.

Every query reads ``rows`` (bronze rows that are not duplicates), or the finer rows
``new_<finer>`` and ``prior_<finer>``. What a batch adds is kept as a delta until the table's
turn. Because measures add up, old rows and deltas are then simply grouped once more.
"""

from __future__ import annotations

import pyarrow as pa

from lakehouse.core.sql import ten_thousandths
from lakehouse.model.flow import (
    MONEY,
    UNITS,
    Aggregate,
    Distinct,
    Exact,
    Favourite,
    Finer,
    Measure,
    Ratio,
)

ARROW = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "BLOB": pa.binary(),
    "DATE": pa.date32(),
    "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
    "DECIMAL(18,3)": pa.decimal128(18, 3),
    "DECIMAL(18,4)": pa.decimal128(18, 4),
    MONEY: pa.decimal128(38, 4),
    UNITS: pa.decimal128(38, 0),
}
"""SQL type → Arrow type of silver's columns."""


def keys_sql(aggregate: Aggregate) -> str:
    """SQL: the key columns, from rows or from the rows of a finer table."""
    return ", ".join(
        f"CAST({sql} AS {kind}) AS {name}" for name, (sql, kind) in aggregate.keys.items()
    )


def partial_sql(aggregate: Aggregate) -> str:
    """SQL: keys and measures of ``rows`` alone."""
    if aggregate.slice is None:
        measures = ", ".join(f"{m.sql} AS {n}" for n, m in aggregate.measures.items())
        return (
            f"SELECT {keys_sql(aggregate)}, {measures} FROM rows "
            f"WHERE {aggregate.where} GROUP BY ALL"
        )
    columns = ", ".join(f"{sql} AS {name}" for name, sql in aggregate.slice.items())
    inner = ", ".join(f"{m.sql} AS {n}" for n, m in aggregate.measures.items())
    outer = ", ".join(f"{joined_sql(m.combine, n)} AS {n}" for n, m in aggregate.measures.items())
    return (
        f"SELECT {keys_sql(aggregate)}, {outer} FROM "
        f"(SELECT {columns}, {inner} FROM rows WHERE {aggregate.where} GROUP BY ALL) "
        f"{aggregate.explode} GROUP BY ALL"
    )


def values_sql(aggregate: Aggregate, exact: Exact, rows: str = "rows") -> str:
    """SQL: keys and text ``counted``, each once, of what a window's exact count is of."""
    columns = "".join(f"{sql} AS {name}, " for name, sql in (aggregate.slice or {}).items())
    return (
        f"SELECT DISTINCT {keys_sql(aggregate)}, counted FROM "
        f"(SELECT DISTINCT {columns}CAST({exact.of} AS VARCHAR) AS counted FROM {rows} "
        f"WHERE {aggregate.where}) {aggregate.explode} WHERE counted IS NOT NULL"
    )


def finer_sql(finer: Finer) -> str:
    """SQL: the distinct keys of a finer table in ``rows``."""
    keys = ", ".join(f"{sql} AS {name}" for name, sql in finer.keys.items())
    return f"SELECT DISTINCT {keys} FROM rows WHERE {finer.where}"


def count_sql(aggregate: Aggregate, name: str, distinct: Distinct) -> str:
    """SQL: how many entities the new finer rows add to each key that did not have them.

    Entities with a single row, ``single_<finer>``, add one to each of their keys: they are
    counted first, and only the counts are multiplied by ``explode``.
    """
    finer = distinct.finer
    keys, made = ", ".join(aggregate.keys), keys_sql(aggregate)
    counted = f"SELECT {made}, count(*) AS entities FROM single_{finer.name} GROUP BY ALL"
    if aggregate.explode:
        parts = ", ".join(k for k in finer.keys if aggregate.slice is None or k in aggregate.slice)
        alike = f"SELECT {parts}, count(*) AS entities FROM single_{finer.name} GROUP BY ALL"
        numbered = f"SELECT *, row_number() OVER () AS number FROM ({alike})"
        counted = (
            f"SELECT {keys}, entities FROM "
            f"(SELECT DISTINCT {made}, number, entities FROM ({numbered}) {aggregate.explode})"
        )
    sides = [
        f"SELECT DISTINCT {made}, {finer.entity} AS entity "
        f"FROM {side}_{finer.name} {aggregate.explode}"
        for side in ("new", "prior")
    ]
    return (
        f"SELECT {keys}, CAST(sum(entities) AS BIGINT) AS {name} FROM ({counted} UNION ALL "
        f"SELECT {keys}, count(*) AS entities FROM ({sides[0]}) n "
        f"ANTI JOIN ({sides[1]}) p USING ({keys}, entity) GROUP BY ALL) GROUP BY ALL"
    )


def units_sql(aggregate: Aggregate, favourite: Favourite) -> str:
    """SQL: units in ``rows`` by the aggregate's keys and the value to choose from."""
    return (
        f"SELECT {keys_sql(aggregate)}, {favourite.of}, "
        f"CAST(sum({favourite.units}) AS {UNITS}) AS units "
        f"FROM rows WHERE {favourite.where} GROUP BY ALL"
    )


def delta_columns(aggregate: Aggregate) -> dict[str, str]:
    """Column → SQL type of a delta: see :func:`delta_sql`."""
    columns = {name: kind for name, (_, kind) in aggregate.keys.items()}
    columns |= {name: m.type for name, m in aggregate.measures.items()}
    columns |= dict.fromkeys([*(aggregate.distinct or {}), *(aggregate.exact or {})], "BIGINT")
    return columns | dict.fromkeys((f"new_{n}" for n in aggregate.favourite or {}), "VARCHAR")


def delta_schema(aggregate: Aggregate) -> pa.Schema:
    """The Arrow schema of a delta."""
    return pa.schema([pa.field(n, ARROW[kind]) for n, kind in delta_columns(aggregate).items()])


def delta_sql(aggregate: Aggregate) -> str:
    """SQL: what ``rows`` add to the table: per key its measures, counts and top values."""
    parts = [partial_sql(aggregate)]
    parts += [count_sql(aggregate, n, d) for n, d in (aggregate.distinct or {}).items()]
    parts += [f"SELECT * FROM choice_{aggregate.name}_{n}" for n in aggregate.favourite or {}]
    if len(parts) == 1:
        later = "".join(f", CAST(NULL AS BIGINT) AS {n}" for n in aggregate.exact or {})
        return f"SELECT *{later} FROM ({parts[0]})" if later else parts[0]
    combine: dict[str, str] = {n: m.combine for n, m in aggregate.measures.items()}
    combine |= dict.fromkeys(aggregate.distinct or {}, "sum")
    combine |= dict.fromkeys((f"new_{n}" for n in aggregate.favourite or {}), "max")
    columns = ", ".join(f"{joined_sql(how, name)} AS {name}" for name, how in combine.items())
    keys = ", ".join(aggregate.keys)
    union = " UNION ALL BY NAME ".join(f"({part})" for part in parts)
    return f"SELECT {keys}, {columns} FROM ({union}) GROUP BY {keys}"


def merged_sql(aggregate: Aggregate) -> str:
    """SQL: the table's new rows, from ``old_<aggregate>`` and ``delta_<aggregate>``.

    Deltas have a column ``place``, their order: the last top value counts.
    """
    name = aggregate.name
    columns = list(aggregate.keys)
    columns += [_combined(n, m) for n, m in aggregate.measures.items()]
    columns += [f"CAST(coalesce(sum({n}), 0) AS BIGINT) AS {n}" for n in aggregate.distinct or {}]
    columns += [f"CAST(sum({n}) AS BIGINT) AS {n}" for n in aggregate.exact or {}]
    columns += [
        f"coalesce(arg_max(new_{n}, place), max({n})) AS {n}" for n in aggregate.favourite or {}
    ]
    keys = ", ".join(aggregate.keys)
    union = f"SELECT * FROM delta_{name} UNION ALL BY NAME SELECT * FROM old_{name}"
    grouped = f"SELECT {', '.join(columns)} FROM ({union}) GROUP BY {keys}"
    return f"SELECT *{derived_sql(aggregate)} FROM ({grouped}) WHERE {aggregate.having}"


def _combined(name: str, measure: Measure) -> str:
    combined = joined_sql(measure.combine, name)
    if measure.combine == "sum":
        combined = f"coalesce({combined}, 0)"
    return f"CAST({combined} AS {measure.type}) AS {name}"


def joined_sql(combine: str, name: str) -> str:
    """SQL: the values of a group's rows joined."""
    return f"{combine}(list({name}))" if combine == "sketch_union" else f"{combine}({name})"


def derived_sql(aggregate: Aggregate) -> str:
    """SQL: what is derived from a row's measures, each after a comma."""
    found = {name: ratio_sql(ratio) for name, ratio in (aggregate.ratios or {}).items()}
    found |= {n: f"sketch_count({e.sketch})" for n, e in (aggregate.estimates or {}).items()}
    return "".join(f", {sql} AS {name}" for name, sql in found.items())


def ratio_sql(ratio: Ratio) -> str:
    """SQL: decimal division in whole numbers, rounded half up at scale 4; no float is used."""
    units = ten_thousandths(ratio.numerator)
    rounded = f"(2 * {units} + {ratio.denominator}) // (2 * {ratio.denominator})"
    quotient = f"CAST({rounded} AS DECIMAL(38,0)) * CAST(0.0001 AS DECIMAL(5,4))"
    return f"CASE WHEN {ratio.denominator} > 0 THEN CAST({quotient} AS {MONEY}) END"


def table_columns(aggregate: Aggregate) -> dict[str, str]:
    """Column → SQL type of the silver table, in order."""
    columns = {name: kind for name, (_, kind) in aggregate.keys.items()}
    columns |= {name: m.type for name, m in aggregate.measures.items()}
    columns |= dict.fromkeys(aggregate.distinct or {}, "BIGINT")
    columns |= dict.fromkeys(aggregate.favourite or {}, "VARCHAR")
    columns |= dict.fromkeys(aggregate.ratios or {}, MONEY)
    derived = [*(aggregate.estimates or {}), *(aggregate.exact or {})]
    return columns | dict.fromkeys(derived, "BIGINT")


def column_docs(aggregate: Aggregate) -> dict[str, str]:
    """Column → its description, for docs/tables.md."""
    docs = dict(aggregate.docs or {})
    first = (aggregate.measures, aggregate.distinct, aggregate.favourite)
    for group in (*first, aggregate.ratios, aggregate.estimates, aggregate.exact):
        docs |= {name: item.doc for name, item in (group or {}).items()}
    return docs
