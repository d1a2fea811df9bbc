"""The analytics explorer: a menu, one statement, or the whole report."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from rich.console import Console

from lakehouse.contracts import load_settings
from lakehouse.core.errors import Exit, LakehouseError, TableMissing, UsageError
from lakehouse.core.settings import Settings
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.menu import menu
from lakehouse.explorer.show import Format, render
from lakehouse.explorer.sql import SqlRejected, read
from lakehouse.explorer.views import REPORT, VIEWS, clients

NARRATION = Console(stderr=True)


def explore(
    batch: Annotated[bool, typer.Option("--batch", help="print the complete report")] = False,
    sql: Annotated[str | None, typer.Option(help="run one SELECT")] = None,
    form: Annotated[Format, typer.Option("--format", help="how to print")] = Format.table,
    limit: Annotated[int | None, typer.Option(min=1, help="most rows of --sql")] = None,
    version: Annotated[int | None, typer.Option(min=0, help="read tables at a version")] = None,
    at: Annotated[str | None, typer.Option(help="read tables as of this time, RFC 3339")] = None,
    as_of: Annotated[str | None, typer.Option(help="the day that recency counts from")] = None,
    root: Annotated[Path | None, typer.Option(help="the lake's root")] = None,
    config: Annotated[Path | None, typer.Option(help="config.ini to read")] = None,
) -> None:
    """Explore the silver tables: a menu, or --batch, or --sql. Reads only; needs no JVM.

    Examples: --batch --format md   |   --sql "SELECT * FROM silver.sales_by_country"   |
    --sql "FROM clients WHERE tier = 'gold'" --format json   |   --version 3 --batch
    """
    settings = load_settings(config)
    settings = settings.with_root(root) if root else settings
    catalogue = Catalogue(settings.lake.root, version, _time("--at", at))
    if not catalogue.names():
        raise TableMissing(
            settings.lake.root, "holds no table", "run `lakehouse demo`, or name the lake by --root"
        )
    views = dict(VIEWS)
    if as_of and (day := _time("--as-of", as_of)):
        views["clients"] = clients(f"TIMESTAMPTZ '{day.isoformat()}'")
    if sql:
        sys.stdout.write(statement(catalogue, sql, settings, views, form, limit))
    elif batch:
        sys.stdout.write(render(report(catalogue, settings, views), form, _width()))
    else:
        menu(lambda text, how: statement(catalogue, text, settings, views, how, limit), catalogue)


def statement(
    catalogue: Catalogue,
    sql: str,
    settings: Settings,
    views: dict[str, str],
    form: Format,
    limit: int | None,
) -> str:
    """One SELECT's rows as text, cut at the row limit with a word about the rest."""
    used = [(name, text) for name, text in views.items() if name in sql.lower()]
    rows = read(catalogue, sql, settings.explorer, used)
    most = limit or settings.explorer.row_limit
    if rows.num_rows > most:
        NARRATION.print(f"{rows.num_rows - most:,} more rows: raise --limit to see them")
    return render({"rows": rows.slice(0, most)}, form, _width())


def report(catalogue: Catalogue, settings: Settings, views: dict[str, str]) -> dict[str, pa.Table]:
    """Every section of the report that the tables there are can answer."""
    sections = {}
    for name, sql in REPORT.items():
        used = [(view, text) for view, text in views.items() if f"FROM {view}" in sql]
        try:
            sections[name] = read(catalogue, sql, settings.explorer, used)
        except SqlRejected as error:
            NARRATION.print(f"{name}: left out: {error.fault}", markup=False)
    if not sections:
        raise TableMissing("the report", "no table that it needs exists", "run `lakehouse demo`")
    return sections


def _width() -> int:
    return max(Console().width, 132)


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(option, f"{text!r} is not a time", "write 2026-11-20T12:00:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def main() -> None:
    """``python query_utils.py``."""
    try:
        typer.run(explore)
    except LakehouseError as error:
        NARRATION.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
