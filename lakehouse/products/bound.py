"""Whether the SQL of a product's declarations can run, and its measures add up.

DuckDB plans every expression over empty tables with the columns that it will meet.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

import duckdb
import pyarrow as pa

from lakehouse.core.errors import DeclarationError
from lakehouse.core.sql import listed
from lakehouse.ingest.schemas import bronze_schema
from lakehouse.model.flow import Aggregate, Keyed, ParquetFlow, SilverFlow
from lakehouse.model.product import Product
from lakehouse.model.sink import KafkaSink
from lakehouse.model.window import Session
from lakehouse.silver.measures import Bind, must_add_up, must_hold
from lakehouse.silver.render import (
    ARROW,
    finer_sql,
    keys_sql,
    partial_sql,
    table_columns,
    units_sql,
    values_sql,
)
from lakehouse.silver.sketch import with_sketches
from lakehouse.storage.duck import Limits, opened

UNSTABLE = re.compile(
    r"\b((random|setseed|uuid\w*|gen_random_uuid|now|today|transaction_timestamp|nextval"
    r"|get_current_\w+)\s*\(|current_(date|time|timestamp|localtime|localtimestamp)\b)", re.I
)  # fmt: skip
"""SQL whose answer depends on the moment, or on chance."""
_SQL = {arrow: sql for sql, arrow in ARROW.items()} | {pa.int32(): "INTEGER"}
_MEMORY = "256MB"
"""Enough to plan; nothing is read."""


def check_sql(*products: Product) -> None:
    """Raise DeclarationError where an expression cannot be planned or a measure cannot add up."""
    with opened(Limits(_MEMORY, threads=1)) as connection:
        with_sketches(connection)
        for flow in (flow for product in products for flow in product.flows):
            if isinstance(flow, KafkaSink):
                made = [one for product in products for one in product.flows]
                _check_floors(connection, flow, [f for f in made if isinstance(f, SilverFlow)])
            if not isinstance(flow, SilverFlow | ParquetFlow):
                continue
            fields = flow.contract.schema
            bind = _binder(connection, fields.names)
            _no_words_of_sql(bind, fields.names, f"product {flow.product!r}, contract")
            kinds = {f.name: _SQL[f.type] for f in fields}
            connection.execute(_rows({**kinds, "is_late": "BOOLEAN"}))
            if isinstance(flow, ParquetFlow):
                _check_parquet(connection, flow)
                continue
            for session in flow.sessions:
                place = f"product {flow.product!r}, table {flow.table(session.name)}"
                _check_session(session, place, bind)
            optional = [f.name for f in fields if f.nullable]
            for aggregate in flow.aggregates:
                if flow.keyed is None or aggregate.of_changes:
                    place = f"product {flow.product!r}, table {flow.table(aggregate.name)}"
                    _check_aggregate(connection, aggregate, optional, place, bind)
            if flow.keyed:
                place = f"product {flow.product!r}, table {flow.table(flow.keyed.current)}"
                _check_keyed(flow.keyed, place, bind)
                kinds = {name: kind for name, (_, kind) in flow.keyed.columns.items()}
                connection.execute(_rows({**kinds, "sign": "INTEGER"}))
                bind = _binder(connection, [*flow.keyed.columns, "sign"])
                for aggregate in (a for a in flow.aggregates if not a.of_changes):
                    place = f"product {flow.product!r}, table {flow.table(aggregate.name)}"
                    _check_aggregate(connection, aggregate, [], place, bind)


def _binder(connection: duckdb.DuckDBPyConnection, columns: Iterable[str]) -> Bind:
    named = ", ".join(columns)

    def bind(place: str, sql: str) -> str:
        if odd := UNSTABLE.search(re.sub(r"'[^']*'", "''", sql)):
            raise DeclarationError(
                place,
                f"{odd[0].rstrip('( ')} does not give the same answer again, and silver must",
                "use what the event says",
            )
        try:
            found = connection.execute(f"DESCRIBE {sql}").fetchall()
        except duckdb.Error as error:
            said = str(error).partition(": ")[2].partition("\n")[0] or str(error)
            raise DeclarationError(place, said, f"use SQL over {named}") from None
        return str(found[0][1])

    return bind


def _check_aggregate(
    connection: duckdb.DuckDBPyConnection,
    aggregate: Aggregate,
    optional: Collection[str],
    place: str,
    bind: Bind,
) -> None:
    for name, kind in [
        *((n, kind) for n, (_, kind) in aggregate.keys.items()),
        *((n, measure.type) for n, measure in aggregate.measures.items()),
    ]:
        if kind not in ARROW:
            raise DeclarationError(
                f"{place}, column {name!r}", f"has the type {kind}, which silver does not know",
                f"use one of {', '.join(ARROW)}",
            )  # fmt: skip
    for name, (sql, _) in aggregate.keys.items():
        if sql in optional:
            raise DeclarationError(
                f"{place}, key {name!r}", f"is {sql}, which may be null, and no key of silver is",
                f"write coalesce({sql}, '')",
            )  # fmt: skip
    _no_words_of_sql(bind, table_columns(aggregate), place)
    for name, measure in aggregate.measures.items():
        must_add_up(connection, measure, f"{place}, measure {name!r}")
    try:
        bind(place, partial_sql(aggregate))
    except DeclarationError as whole:
        _bind_each(aggregate, place, bind)
        raise whole from None
    for name, measure in aggregate.measures.items():
        if measure.combine == "sum":
            must_hold(measure, bind, f"{place}, measure {name!r}")
    _check_counts(aggregate, place, bind)
    for name, favourite in (aggregate.favourite or {}).items():
        bind(f"{place}, favourite {name!r}", units_sql(aggregate, favourite))
        kind = bind(f"{place}, favourite {name!r}", f"SELECT {favourite.units} FROM rows")
        if not kind.endswith("INT") and kind != "INTEGER":
            raise DeclarationError(
                f"{place}, favourite {name!r}", f"counts {favourite.units}, a {kind}",
                "count in whole numbers that are not negative, such as 1 for each row",
            )  # fmt: skip
        if odd := [n for n, (_, kind) in aggregate.keys.items() if kind != "VARCHAR"]:
            raise DeclarationError(
                f"{place}, favourite {name!r}", f"is chosen by {odd[0]!r}, which is no text",
                "let every key of a table with a favourite be VARCHAR",
            )  # fmt: skip
    columns = ", ".join(
        f"CAST(NULL AS {kind}) AS {n}" for n, kind in table_columns(aggregate).items()
    )
    bind(f"{place}, having", f"SELECT 1 FROM (SELECT {columns}) WHERE {aggregate.having}")


def _check_counts(aggregate: Aggregate, place: str, bind: Bind) -> None:
    """The counts of different values."""
    for name, distinct in (aggregate.distinct or {}).items():
        here, finer = f"{place}, distinct count {name!r}", finer_sql(distinct.finer)
        bind(here, finer)
        kept = ", ".join(
            n if n == "event_time" else f"CAST({n} AS VARCHAR) AS {n}" for n in distinct.finer.keys
        )
        finer = f"SELECT {kept} FROM ({finer})"  # a finer table has text, and truncated time
        bind(here, f"SELECT {keys_sql(aggregate)}, {distinct.finer.entity} "
                   f"FROM ({finer}) {aggregate.explode}")  # fmt: skip
    for name, exact in (aggregate.exact or {}).items():
        bind(f"{place}, exact count {name!r}", values_sql(aggregate, exact))


def _bind_each(aggregate: Aggregate, place: str, bind: Bind) -> None:
    """Say which key or measure it is."""
    rows = "rows"
    for name, sql in (aggregate.slice or {}).items():
        bind(f"{place}, slice {name!r}", f"SELECT {sql} FROM rows")
    if aggregate.slice is not None:
        columns = ", ".join(f"{sql} AS {name}" for name, sql in aggregate.slice.items())
        rows = f"(SELECT {columns} FROM rows) {aggregate.explode}"
    for name, (sql, kind) in aggregate.keys.items():
        bind(f"{place}, key {name!r}", f"SELECT CAST({sql} AS {kind}) FROM {rows}")
    for name, measure in aggregate.measures.items():
        bind(f"{place}, measure {name!r}", f"SELECT {measure.sql} FROM rows")
    bind(f"{place}, where", f"SELECT 1 FROM rows WHERE {aggregate.where}")


def _no_words_of_sql(bind: Bind, names: Collection[str], place: str) -> None:
    """All are planned at once, and each where that fails: planning takes a millisecond."""
    columns = ", ".join(f"1 AS {name}" for name in names)
    with suppress(DeclarationError):
        bind(place, f"SELECT {', '.join(names)} FROM (SELECT {columns})")
        return
    for name in names:
        try:
            bind(place, f"SELECT {name} FROM (SELECT 1 AS {name})")
        except DeclarationError:
            raise DeclarationError(
                f"{place}, column {name!r}", "is a word of SQL", "give it another name"
            ) from None


def _check_keyed(keyed: Keyed, place: str, bind: Bind) -> None:
    for name, (sql, kind) in keyed.columns.items():
        bind(f"{place}, column {name!r}", f"SELECT CAST({sql} AS {kind}) FROM rows")
    for what, sql in (("block", f"CAST({keyed.block} AS BIGINT)"), ("deleted", keyed.deleted)):
        bind(f"{place}, {what}", f"SELECT {sql} FROM rows WHERE {keyed.where}")


def _check_session(session: Session, place: str, bind: Bind) -> None:
    _no_words_of_sql(bind, session.columns, place)
    texts = {"key": f"{session.key} || ''", "time": f"epoch_us({session.time})"}
    conditions = {"ends": session.ends, "where": session.where}
    conditions |= {f"count {name!r}": sql for name, (sql, _) in session.counts.items()}
    for what, sql in texts.items():
        bind(f"{place}, {what}", f"SELECT {sql} FROM rows")
    for what, sql in conditions.items():
        kind = bind(f"{place}, {what}", f"SELECT {sql} FROM rows")
        if kind != "BOOLEAN":
            raise DeclarationError(
                f"{place}, {what}", f"{sql} is {kind}, and says not yes or no",
                "write a condition, such as kind = 'end'",
            )  # fmt: skip


def _rows(kinds: Mapping[str, str]) -> str:
    """The view ``rows`` with these columns, empty."""
    columns = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in kinds.items())
    return f"CREATE OR REPLACE TEMP VIEW rows AS SELECT {columns} WHERE false"


def _check_parquet(connection: duckdb.DuckDBPyConnection, flow: ParquetFlow) -> None:
    place = f"product {flow.product!r}, flow {flow.name!r}"
    if not flow.columns or len({*flow.columns}) < len(flow.columns):
        raise DeclarationError(
            place, "columns names none, or one twice", "name each column of the files once"
        )
    added = '\'\' AS topic, 0 AS "partition", 0 AS "offset"'
    columns = listed(flow.columns)
    kind = _binder(connection, flow.contract.schema.names)(
        place,
        f"SELECT {flow.date} FROM (SELECT {columns}, * FROM (SELECT *, {added} FROM rows)) "
        f"WHERE {flow.where}",
    )
    if kind != "DATE":
        raise DeclarationError(
            place, f"date is {kind}, and files are kept by DATE", f"write CAST({flow.date} AS DATE)"
        )


def _check_floors(
    connection: duckdb.DuckDBPyConnection, sink: KafkaSink, silver: Iterable[SilverFlow]
) -> None:
    """A floor is compared with a column of its table: it must be there, and of one type with it."""
    known: dict[str, Mapping[str, str]] = {}
    for flow in silver:
        known |= {flow.table(one.name): one.columns for one in flow.sessions}
        known |= {flow.table(one.name): table_columns(one) for one in flow.aggregates}
    connection.register("bronze", bronze_schema(sink.contract).empty_table())
    bind = _binder(connection, sink.contract.schema.names)
    for view, (column, value) in sink.floors.items():
        place = f"product {sink.product!r}, flow {sink.name!r}, floor {view!r}"
        if view not in sink.states:
            raise DeclarationError(
                place, "is of no table that the rows are joined with",
                f"name one of states: {', '.join(sink.states) or 'there is none'}",
            )  # fmt: skip
        columns = known.get(sink.states[view], {})
        if column not in columns:
            raise DeclarationError(
                place, f"{sink.states[view]} has no column {column!r}",
                f"use one of {', '.join(columns)}" if columns else "leave it out",
            )  # fmt: skip
        kind = bind(place, f"SELECT {value} FROM bronze AS rows")
        kind = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}.get(kind, kind)
        if kind != columns[column]:
            raise DeclarationError(
                place, f"{value} is {kind}, and {column} is {columns[column]}",
                f"write CAST({value} AS {columns[column]})",
            )  # fmt: skip
