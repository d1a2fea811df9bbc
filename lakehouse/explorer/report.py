"""The batch report: each product's own sections, and the quality of what has landed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from lakehouse.core.errors import DeclarationError, LakehouseError, TableDamaged, TableMissing
from lakehouse.core.progress import Counted
from lakehouse.core.sql import text
from lakehouse.core.text import Say
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.model.flow import SilverFlow
from lakehouse.model.product import Product
from lakehouse.products.registry import bronze_of, leaving_out, part, parts, products
from lakehouse.settings.sections import ExplorerSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from lakehouse.settings.settings import Settings

QUALITY = """
    SELECT count(*) AS bronze_records, count(*) FILTER (is_late) AS late,
        count(*) FILTER (is_duplicate) AS duplicates, min(event_time) AS first_event,
        max(event_time) AS last_event, max(ingest_time) AS last_landed
    FROM bronze.{product}"""

LEDGER = """
    SELECT batch_id, bronze_version, watermark, rows, late, duplicates,
        most_late_us // 60000000 AS most_late_minutes, first_late
    FROM ledger.{product} ORDER BY batch_id DESC LIMIT 10"""
"""The newest batches that held late or duplicate events."""

QUARANTINE = r"""
    WITH faults AS (
        SELECT regexp_replace(regexp_replace(verdict, ': [^;]*', '', 'g'), '"[^"]*"', '…', 'g')
                AS verdict,
            kafka_time, "partition", "offset",
            coalesce(TRY(decode(value)), CAST(value AS VARCHAR)) AS value
        FROM quarantine.{product} WHERE replayed_version IS NULL)
    SELECT verdict, count(*) AS records,
        arg_min("partition" || ':' || "offset", (kafka_time, "partition", "offset")) AS first_at,
        substr(arg_min(coalesce(value, '(null)'), (kafka_time, "partition", "offset")), 1, 32)
            AS first_value
    FROM faults GROUP BY verdict ORDER BY records DESC, verdict LIMIT 25"""
"""Verdicts without quoted values, each with the address and bytes of its first record.

Replayed records are left out: they count in bronze.
"""


@dataclass(frozen=True)
class Chart:
    """What a section's picture shows: a bar for each row."""

    labels: tuple[str, ...]
    """Columns that name a row."""
    value: str
    """The column that is drawn."""
    apart: str = ""
    """A column, such as a currency, whose values are never drawn on one scale."""


@dataclass(frozen=True)
class Series:
    """A picture over time: ``sql`` gives ``time`` in order and ``values``, one line each."""

    title: str
    sql: str
    time: str
    values: tuple[str, ...]
    by: str = ""
    """A column, such as a currency, each of whose values has a line, on a scale of its own."""


@dataclass(frozen=True)
class LookUp:
    """A word of the explorer that shows one thing's rows: ``client C-1042``."""

    doc: str
    """What it shows, as text."""
    sql: str
    """SELECT in which ``{0}`` becomes the entered text, as SQL."""
    by: str
    """The column that identifies a row."""

    def asked(self, wanted: str) -> str:
        """Its SELECT for one thing."""
        return self.sql.replace("'{0}'", "{0}").format(text(wanted))


def quality(product: str, prefix: str = "") -> dict[str, str]:
    """Section → SELECT for a product: what landed, was late, was a duplicate, was quarantined."""
    found = {"quality": QUALITY, "late_and_doubled": LEDGER, "quarantine": QUARANTINE}
    return {f"{prefix}{n}": sql.replace("{product}", product) for n, sql in found.items()}


def sections(catalogue: Catalogue) -> dict[str, str]:
    """Section → SELECT, in order, of every product of which the lake has a table."""
    found: dict[str, str] = {}
    for product in products_of(catalogue.names()):
        with leaving_out(product):
            _add(found, of_product(product), product, "section")
    return found


def products_of(names: Collection[str]) -> list[Product]:
    """The products of which there is a table among these."""
    return [p for p in products().values() if any(f"bronze.{c.name}" in names for c in p.contracts)]


def of_product(product: Product) -> dict[str, str]:
    """Its report's sections, or else the first rows of its aggregates; then the quality of each."""
    if module := part(product, "report"):
        return dict(module.REPORT)
    found = {
        f"{flow.product}_{a.name}": f"FROM {flow.table(a.name)} "
        f"ORDER BY {', '.join(a.keys)} LIMIT 10"
        for flow in product.flows
        if isinstance(flow, SilverFlow)
        for a in flow.aggregates
    }
    for contract in product.contracts:
        found |= quality(contract.name, f"{contract.name}_")
    return found


def _add(known: dict[str, str], found: Mapping[str, str], product: Product, what: str) -> None:
    """Add a product's names; DeclarationError if another product has one of them."""
    if taken := sorted(known.keys() & found.keys()):
        raise DeclarationError(
            f"product {product.name!r}, report", f"its {what} {taken[0]!r} is another product's",
            f"give it another name, such as {product.name}_{taken[0]}",
        )  # fmt: skip
    known |= found


def titles() -> dict[str, str]:
    """Section → its title, of every product."""
    found: dict[str, str] = {}
    for product in products().values():
        with leaving_out(product):
            said = getattr(part(product, "report"), "TITLES", {})
            found |= {n: said.get(n, n.replace("_", " ")) for n in of_product(product)}
    return found


def views(as_of: str | None = None, settings: Settings | None = None) -> dict[str, str]:
    """Name → SELECT of every product's derived views, as of a TIMESTAMPTZ expression in SQL.

    Without settings those are left out that depend on them, or on files of the lake.
    """
    found: dict[str, str] = {}
    for product, module in parts("report"):
        with leaving_out(product):
            if of_its_own := getattr(module, "views", None):
                _add(found, of_its_own(as_of), product, "view")
            if settings and (of_a_lake := getattr(module, "views_of", None)):
                _add(found, of_a_lake(settings), product, "view")
    return found


def look_ups() -> dict[str, LookUp]:
    """Word → its look-up, of every product's report."""
    found: dict[str, LookUp] = {}
    for _, module in parts("report"):
        found |= getattr(module, "LOOK_UPS", {})
    return found


def report(
    catalogue: Catalogue,
    settings: ExplorerSettings,
    views: Mapping[str, str],
    say: Say,
) -> dict[str, pa.Table]:
    """Every section whose tables exist, and how fresh each table is.

    All sections read one snapshot. A section whose table is missing is left out, and ``say``
    is told; TableMissing if the lake has no table.
    """
    from lakehouse.explorer.sql import QueryTimedOut, Reader, in_time  # noqa: PLC0415  # it loads DuckDB

    catalogue.require()
    found: dict[str, pa.Table] = {}
    asked = sections(catalogue)
    answered = Counted("report", len(asked), "sections")
    with Reader(catalogue, settings, asked.values(), views) as reader:
        for name, sql in asked.items():
            try:
                found[name] = reader.ask(sql).rows
            except (TableDamaged, QueryTimedOut):
                raise
            except LakehouseError as error:
                say(f"{name}: left out: {error.place} {error.fault}")
            answered.add(1)
    if not found:
        raise TableMissing("the report", "no table that it needs exists", "run `lakehouse demo`")
    try:
        found["freshness"] = in_time(settings, partial(freshness, catalogue))
    except LakehouseError as error:
        say(f"freshness: left out: {error.place} {error.fault}")
    return found


def freshness(catalogue: Catalogue) -> pa.Table:
    """Every table: rows, bytes, version, last commit, and how far it is behind bronze.

    ``behind`` counts the bronze versions that a silver table has not applied.
    """
    import pyarrow as pa  # noqa: PLC0415  # a verb's help loads no Arrow

    found = [catalogue.info(name) for name in catalogue.names()]
    versions = {info.name: info.version for info in found}
    rows = []
    for info in found:
        newest = versions.get(bronze_of(info.name) or "")
        behind = None if info.source is None or newest is None else newest - info.source
        row = {**asdict(info), "behind": behind}
        row["committed"] = datetime.fromisoformat(info.committed) if info.committed else None
        for narrow in ("source", "as_of", "files", "partitions"):  # `lakehouse tables` has them
            row.pop(narrow)
        rows.append(row)
    return pa.Table.from_pylist(rows)
