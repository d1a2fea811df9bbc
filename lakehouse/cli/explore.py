"""The analytics explorer: a menu, one statement, or the whole report."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.edge import settings_of
from lakehouse.core.errors import Exit, LakehouseError, UsageError
from lakehouse.core.options import MOST, Config, Root
from lakehouse.core.text import say
from lakehouse.explorer.format import Format

if TYPE_CHECKING:
    from collections.abc import Callable

    from deltalake import DeltaTable

    from lakehouse.explorer.catalogue import Catalogue
    from lakehouse.explorer.past import Past
    from lakehouse.settings.settings import Settings


def explore(
    batch: Annotated[bool, typer.Option("--batch", help="print the complete report")] = False,
    sql: Annotated[str | None, typer.Option(help="run one SELECT")] = None,
    form: Annotated[Format, typer.Option("--format", help="how to print")] = Format.table,
    raw: Annotated[
        bool, typer.Option("--raw", help="CSV for programs: texts as they are, formulas too")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, max=MOST, help="most rows of --sql")] = None,
    version: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="read tables at a version")
    ] = None,
    at: Annotated[str | None, typer.Option(help="read tables as of this time, RFC 3339")] = None,
    as_of: Annotated[str | None, typer.Option(help="the day that recency counts from")] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Explore the silver tables: a menu, or --batch, or --sql. Reads only; needs no JVM.

    Examples: --batch --format md   |   --sql "SHOW TABLES"   |
    --sql "FROM clients WHERE tier = 'gold'" --format json   |   --version 3 --batch
    """
    if batch and sql is not None:
        raise UsageError("--batch and --sql", "exclude each other", "give one of them")
    from lakehouse.core.memory import bounded, growth
    from lakehouse.explorer.catalogue import Catalogue
    from lakehouse.explorer.report import views as views_of
    from lakehouse.explorer.times import time_of

    settings = settings_of(config, root, logs=False)
    then = time_of("--at", at) if at is not None else None
    catalogue = Catalogue(settings.lake.root, version, then, _past(settings))
    catalogue.require()
    day = time_of("--as-of", as_of) if as_of is not None else None
    views = views_of(f"TIMESTAMPTZ '{day.isoformat()}'" if day else None, settings)
    try:
        with bounded(growth(settings.explorer.memory_limit)):
            _answer(catalogue, settings, views, form, limit, sql=sql, batch=batch, raw=raw)
    except KeyboardInterrupt:  # typer would say 1
        raise SystemExit(Exit.INTERRUPTED) from None


def _past(settings: Settings) -> Callable[[str, int], DeltaTable | None]:
    """Folds silver of a moment whose versions are gone; loads what that needs when asked."""
    found: list[Past] = []

    def open_past(name: str, version: int) -> DeltaTable | None:
        from lakehouse.explorer.past import Past

        if not found:
            found.append(Past(settings, say))
        return found[0].open(name, version)

    return open_past


def _answer(
    catalogue: Catalogue,
    settings: Settings,
    views: dict[str, str],
    form: Format,
    limit: int | None,
    *,
    sql: str | None,
    batch: bool,
    raw: bool,
) -> None:
    from lakehouse.explorer.show import render, width

    if sql is not None:
        _write(statement(catalogue, sql, settings, views, form, limit, raw=raw))
    elif batch:
        from lakehouse.explorer.report import report
        from lakehouse.explorer.sql import in_time

        found = report(catalogue, settings.explorer, views, say)
        color = sys.stdout.isatty()
        drawn = partial(render, found, form, width(), color=color, raw=raw)
        _write(in_time(settings.explorer, drawn))
    else:
        from lakehouse.explorer.menu import menu

        menu(lambda lake, text, how: statement(lake, text, settings, views, how, limit), catalogue)


def statement(
    catalogue: Catalogue,
    sql: str,
    settings: Settings,
    views: dict[str, str],
    form: Format,
    limit: int | None,
    *,
    raw: bool = False,
) -> str:
    """One SELECT's rows as text, cut at the row limit with a word about the rest."""
    from lakehouse.explorer.allowed import check
    from lakehouse.explorer.show import render, width
    from lakehouse.explorer.sql import Reader, in_time

    in_time(settings.explorer, lambda: check(sql, views))
    with Reader(catalogue, settings.explorer, [sql], views) as reader:

        def answered() -> tuple[int, str]:
            answer = reader.ask(sql, limit or settings.explorer.row_limit)
            color = sys.stdout.isatty()
            return answer.more, render({"rows": answer.rows}, form, width(), color=color, raw=raw)

        more, drawn = in_time(settings.explorer, answered, reader.interrupt)
    if more:
        say(f"{more:,} more rows: raise --limit to see them")
    return drawn


def _write(text: str) -> None:
    """Data to stdout; a reader that left early (``| head``) is no fault."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """``python query_utils.py``."""
    try:
        typer.run(explore)
    except LakehouseError as error:
        say(str(error))
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
