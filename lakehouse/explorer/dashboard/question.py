"""The question whose row a viewer chose, and what tells that row from its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from lakehouse.core.errors import UsageError
from lakehouse.core.sql import identifier
from lakehouse.explorer.analyses import Analysis, analyses
from lakehouse.explorer.business import figures, series
from lakehouse.explorer.identity import identities, names_of
from lakehouse.explorer.observed import Seen
from lakehouse.explorer.report import Chart, Series
from lakehouse.products.registry import product


@dataclass(frozen=True)
class Question:
    """A SELECT that a page shows rows of."""

    title: str
    sql: str
    ids: Callable[[pa.Table], Sequence[str]]
    """Of each row a short text, the same when the answer is rebuilt."""
    table: str = ""
    """The table that the rows are of, where they are of one as it is."""
    is_figure: bool = False


def question(query: Mapping[str, str], seen: Seen) -> Question:
    """What an address names: an analysis, a figure or a picture of a product, or a table."""
    if "analysis" in query:
        one = analysis(query["analysis"], seen)
        return Question(one.title, one.sql, partial(rows_ids, chart=one.chart))
    if "figure" in query:
        title = query["figure"]
        if sql := figures(product(query.get("product", ""))).get(title):
            return Question(title, sql, figure_ids, is_figure=True)
        raise UsageError(f"figure {title}", "is not there", "choose one of a product's page")
    if "series" in query:
        name = query["series"]
        if found := series(product(query.get("product", ""))).get(name):
            return Question(found.title, found.sql, partial(point_ids, series=found))
        raise UsageError(f"picture {name}", "is not there", "choose one of a product's page")
    table = query.get("table", "")
    if table not in seen.tables:
        raise UsageError(f"table {table}", "is not there", "look at the list of tables")
    return Question(table, all_of(table), partial(rows_ids, table=table), table)


def rows_ids(rows: pa.Table, table: str = "", chart: Chart | None = None) -> list[str]:
    """Of rows of a table, or of an analysis with its picture."""
    return identities(rows, names_of(rows, table, chart))


def figure_ids(rows: pa.Table) -> list[str]:
    """Of a figure: its unit, or else its place. What it counts is another number soon."""
    if "unit" in rows.schema.names:
        return identities(rows, ["unit"])
    return [str(place) for place in range(rows.num_rows)]


def point_ids(rows: pa.Table, series: Series) -> list[str]:
    """Of points over time: their time and their line."""
    return identities(rows, [*filter(None, [series.time, series.by])])


def listed(seen: Seen) -> list[Analysis]:
    """The analyses of which the lake has a table."""
    return analyses([*seen.tables])


def analysis(name: str, seen: Seen) -> Analysis:
    """The analysis of a name; UsageError where there is none."""
    found = next((a for a in listed(seen) if a.name == name), None)
    if found is None:
        raise UsageError(f"analysis {name}", "is not there", "choose one of a product's page")
    return found


def all_of(table: str) -> str:
    """The newest rows of a table."""
    layer, _, name = table.partition(".")
    newest = " ORDER BY batch_id DESC" if layer in {"bronze", "ledger"} else ""
    return f"FROM {identifier(layer)}.{identifier(name)}{newest} LIMIT 50"
