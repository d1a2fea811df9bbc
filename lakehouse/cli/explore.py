"""The analytics explorer: a terminal app; or one statement, or the whole report, as text."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.options import MOST, Config, Root
from lakehouse.explorer.format import Format

if TYPE_CHECKING:
    from lakehouse.explorer.session import Session
    from lakehouse.settings.settings import Settings

_RARELY = 100_000
"""New objects from one garbage collection to the next: a start makes many, and leaves them all."""


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
    """Explore the tables in the terminal; or print, with --batch or --sql. Needs no JVM.

    Examples: --root var/demo   |   --batch --format md   |   --sql "SHOW TABLES"   |
    --sql "FROM clients WHERE tier = 'gold'" --format json   |   --version 3 --batch
    """
    if batch and sql is not None:
        raise UsageError("--batch and --sql", "exclude each other", "give one of them")
    gc.set_threshold(_RARELY)  # a tenth of the time until the screen is there
    from lakehouse.cli import asking

    if not batch and sql is None:
        _open(*asking.opened(config, root, version, at, as_of, is_made=False))
        return

    from lakehouse.cli.edge import write

    def printed(session: Session, settings: Settings) -> None:
        if sql is None:
            write(asking.reported(session, settings, form, raw=raw))
        else:
            write(asking.answered(session, settings, sql, form, limit, raw))

    asking.with_session(config, root, version, at, as_of, printed)


def _open(settings: Settings, session: Session) -> None:
    """The app, on a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "lakehouse explore", "needs a terminal",
            "use `lakehouse report`, or `lakehouse sql \"SHOW TABLES\"`",
        )  # fmt: skip
    from lakehouse.cli.edge import in_bounds

    try:
        from lakehouse.explorer.app.app import Explorer
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("textual"):
            raise
        raise LakehouseError(
            "lakehouse explore", "its screen needs the package textual, which is not installed",
            "make setup, or pip install 'lakehouse[tui]'; `lakehouse report` does without",
        ) from None  # fmt: skip
    with session, in_bounds(settings):
        Explorer(session, settings).run()
