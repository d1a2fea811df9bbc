"""What the audit compares a product's tables with: its own recompute, or its declarations.

A product's recompute is written apart from the declarations that make its tables. Where
it gives none, these are evaluated whole, over all rows of bronze that count: increments,
state and retries are checked so, and a fault in the declaration itself is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from lakehouse.core.errors import DeclarationError
from lakehouse.core.sql import text
from lakehouse.model.contract import Contract, Record, base_type
from lakehouse.model.flow import Aggregate, Flow, Keyed, SilverFlow
from lakehouse.model.recompute import Recompute, Recomputes
from lakehouse.model.window import END, FINAL, Session
from lakehouse.model.witness import Broken, Kind, Raw, Witness, parse_object, whole_value
from lakehouse.products.registry import contract, owner, part
from lakehouse.silver.render import (
    derived_sql,
    finer_sql,
    keys_sql,
    partial_sql,
    units_sql,
    values_sql,
)

COUNTED = "SELECT * FROM bronze_then WHERE NOT is_duplicate"
_KINDS = {str: Kind.TEXT, int: Kind.WHOLE, Decimal: Kind.MONEY, datetime: Kind.TIME}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def recomputes_of(name: str) -> Recomputes:
    """The product's own recompute of a contract; without one the contract's declarations.

    DeclarationError where the product gives one of a contract that it does not have.
    """
    product = owner(name)
    module = part(product, "recompute")
    own: Mapping[str, Recomputes] = module.RECOMPUTES if module else {}
    known = [c.name for c in product.contracts]
    if unknown := [of for of in own if of not in known]:
        raise DeclarationError(
            f"product {product.name!r}, {product.recompute}",
            f"RECOMPUTES has {unknown[0]!r}, which is not one of its contracts",
            f"use {' or '.join(known)}",
        )
    if name in own:
        return own[name]
    return declared(contract(name), [f for f in product.flows if f.product == name])


def declared(of: Contract, flows: list[Flow]) -> Recomputes:
    """The declarations of one contract's flows, as SQL over all of bronze."""
    silver = [flow for flow in flows if isinstance(flow, SilverFlow)]
    tables = tuple(table for flow in silver for table in _tables(flow))
    return Recomputes(COUNTED, tables, _witness(of), is_declared=True)


def _tables(flow: SilverFlow) -> Iterator[Recompute]:
    names = ", ".join([*flow.contract.schema.names, "is_late"])
    rows = every = f"rows AS (SELECT {names} FROM counted)"
    for session in flow.sessions:
        keys = (session.key, "session_start")
        yield Recompute(session.name, keys, f"WITH {rows}, {_sessions(session)}")
    if keyed := flow.keyed:
        changes, named = f"WITH {rows}, {_changes(keyed)}", _names(keyed)
        by = keyed.key if keyed.columns[keyed.key][0] == keyed.key else ""
        for name, more, sql in (
            (keyed.current, (), _CURRENT), (keyed.history, ("started_at",), _HISTORY),
        ):  # fmt: skip
            yield Recompute(name, (keyed.key, *more), f"{changes} {sql.format(**named)}", by)
        rows = f"rows AS (SELECT *, 1 AS sign FROM ({changes} {_CURRENT.format(**_names(keyed))}))"
    for aggregate in flow.aggregates:
        of = every if aggregate.of_changes else rows
        yield Recompute(aggregate.name, tuple(aggregate.keys), f"WITH {of}, {_whole(aggregate)}")
        for favourite in (aggregate.favourite or {}).values():
            units = f"WITH {rows} {units_sql(aggregate, favourite)}"
            yield Recompute(favourite.finer, (*aggregate.keys, favourite.of), units)
    for finer in flow.finers:
        yield Recompute(finer.name, tuple(finer.keys), f"WITH {rows} {finer_sql(finer)}")


def _whole(aggregate: Aggregate) -> str:
    """The table's rows, from ``rows`` at once: measures, counts and choices joined by key."""
    keys = ", ".join(aggregate.keys)
    parts = {"measured": partial_sql(aggregate)}
    for name, distinct in (aggregate.distinct or {}).items():
        finer = distinct.finer
        parts[f"counted_{name}"] = (
            f"SELECT {keys_sql(aggregate)}, count(DISTINCT {finer.entity}) AS {name} "
            f"FROM ({finer_sql(finer)}) {aggregate.explode} GROUP BY ALL"
        )
    for name, favourite in (aggregate.favourite or {}).items():
        parts[f"chosen_{name}"] = (
            f"SELECT {keys}, {favourite.of} AS {name} FROM ({units_sql(aggregate, favourite)}) "
            "QUALIFY row_number() OVER "
            f"(PARTITION BY {keys} ORDER BY units DESC, {favourite.of}) = 1"
        )
    for name, exact in (aggregate.exact or {}).items():
        parts[f"seen_{name}"] = (
            f"SELECT {keys}, count(*) AS {name} FROM ({values_sql(aggregate, exact)}) "
            f"WHERE {text(name)} IN (SELECT name FROM asked) GROUP BY ALL"
        )
    columns = [*aggregate.keys]
    for name, measure in aggregate.measures.items():
        value = f"coalesce({name}, 0)" if measure.combine == "sum" else name
        if aggregate.window and name == FINAL:
            value = f"coalesce({END} <= (SELECT watermark FROM moment), false)"
        columns.append(f"CAST({value} AS {measure.type}) AS {name}")
    columns += [f"coalesce({name}, 0) AS {name}" for name in aggregate.distinct or {}]
    columns += [*(aggregate.favourite or {}), *(aggregate.exact or {})]
    joined = " FULL JOIN ".join(
        name if name == "measured" else f"{name} USING ({keys})" for name in parts
    )
    return (
        f"{', '.join(f'{name} AS ({sql})' for name, sql in parts.items())} "
        f"SELECT *{derived_sql(aggregate)} FROM (SELECT {', '.join(columns)} FROM {joined}) "
        f"WHERE {aggregate.having}"
    )


def _sessions(session: Session) -> str:
    """The sessions of ``rows``, cut where an event ends one, or silence does."""
    counted = "".join(f", CAST({sql} AS BIGINT) AS {n}" for n, (sql, _) in session.counts.items())
    summed = "".join(f", CAST(sum({n}) AS BIGINT) AS {n}" for n in session.counts)
    return _SESSIONS.format(
        key=session.key, time=session.time, ends=session.ends, where=session.where,
        counted=counted, summed=summed, counts="".join(f", {n}" for n in session.counts),
    )  # fmt: skip


def _names(keyed: Keyed) -> dict[str, str]:
    return {"key": keyed.key, "order": keyed.order, "time": keyed.time, "follows": keyed.follows,
            "gone": keyed.gone, "columns": ", ".join(keyed.columns)}  # fmt: skip


def _changes(keyed: Keyed) -> str:
    columns = ", ".join(f"CAST({sql} AS {k}) AS {n}" for n, (sql, k) in keyed.columns.items())
    return (
        f"changes AS (SELECT {columns}, CAST({keyed.block} AS BIGINT) AS block, "
        f"({keyed.deleted}) AS gone FROM rows WHERE {keyed.where})"
    )


_CURRENT = """
SELECT {columns}, block FROM changes
WHERE NOT gone AND {order} = (
    SELECT max(later.{order}) FROM changes AS later WHERE later.{key} = changes.{key}
)
QUALIFY row_number() OVER (PARTITION BY {key}) = 1
"""
_HISTORY = """
, once AS (
    SELECT {key}, block, {order} AS place, {time} AS happened,
        CASE WHEN gone THEN '{gone}' ELSE {follows} END AS status
    FROM changes
    QUALIFY row_number() OVER (PARTITION BY {key}, place ORDER BY happened, status) = 1
), numbered AS (
    SELECT *, max(happened) OVER (PARTITION BY {key} ORDER BY place) AS moment,
        row_number() OVER (PARTITION BY {key} ORDER BY place)
            - row_number() OVER (PARTITION BY {key}, status ORDER BY place) AS island
    FROM once
), runs AS (
    SELECT {key}, block, status, min(place) AS first, min(moment) AS started_at,
        list(struct_pack(sequence := place, changed_at := happened) ORDER BY place) AS changes
    FROM numbered GROUP BY {key}, block, status, island
), closed AS (
    SELECT *, lead(started_at) OVER (PARTITION BY {key} ORDER BY first) AS ended_at FROM runs
)
SELECT {key}, status AS {follows}, started_at, ended_at,
    CAST(CAST(epoch_ms(ended_at) - epoch_ms(started_at) AS DECIMAL(15, 0))
        * CAST(0.001 AS DECIMAL(4, 3)) AS DECIMAL(18, 3)) AS duration_seconds, changes, block
FROM closed
"""


_SESSIONS = """
happened AS (
    SELECT {key}, {time} AS moment, coalesce({ends}, false) AS closes{counted}
    FROM rows WHERE NOT is_late AND ({where})
), begun AS (
    SELECT *, coalesce((lag(closes) OVER in_order AND moment > lag(moment) OVER in_order)
        OR epoch_us(moment) - epoch_us(lag(moment) OVER in_order) > (SELECT micros FROM timeout),
        true) AS begins
    FROM happened WINDOW in_order AS (PARTITION BY {key} ORDER BY moment, closes{counts})
), numbered AS (
    SELECT *, sum(CAST(begins AS INTEGER)) OVER (
        PARTITION BY {key} ORDER BY moment, closes{counts} ROWS UNBOUNDED PRECEDING) AS number
    FROM begun
), made AS (
    SELECT {key}, number, min(moment) AS session_start, max(moment) AS session_end,
        bool_or(closes) AS is_ended{summed}
    FROM numbered GROUP BY {key}, number
), followed AS (
    SELECT *, (SELECT watermark FROM moment) AS mark,
        lead(number) OVER (PARTITION BY {key} ORDER BY number) IS NOT NULL AS is_followed,
        to_microseconds((SELECT micros FROM timeout)) AS silence
    FROM made
)
SELECT {key}, session_start, session_end,
    CAST(CAST((epoch_us(session_end) - epoch_us(session_start)) // 1000 AS DECIMAL(15, 0))
        * CAST(0.001 AS DECIMAL(4, 3)) AS DECIMAL(18, 3)) AS duration_seconds{counts},
    CASE WHEN is_ended THEN 'end'
        WHEN is_followed OR coalesce(mark > session_end + silence, false) THEN 'timeout'
        ELSE 'open' END AS ended,
    coalesce(mark > CASE WHEN is_ended THEN session_end ELSE session_end + silence END, false)
        AS is_final,
    CAST(session_start AS DATE) AS session_date
FROM followed
"""


def _witness(of: Contract) -> Witness:
    """What a record says by its contract's fields, read by the audit's own JSON reader."""
    fields = {name: _KINDS[base_type(hint)] for name, hint in of.hints.items()}
    event = partial(_unwrapped, of.unwrap) if of.unwrap else whole_value
    return Witness(fields, of.required, event)


def _unwrapped(unwrap: Callable[[Record], bytes], raw: Raw) -> dict[str, Any]:
    headers = [{"key": key, "value": value} for key, value in raw.headers]
    time = _EPOCH + timedelta(milliseconds=raw.time)
    try:
        value = unwrap(Record(raw.key, raw.value, headers, time, raw.partition, raw.offset))
    except ValueError as error:
        raise Broken(str(error)) from None
    return parse_object(value)
