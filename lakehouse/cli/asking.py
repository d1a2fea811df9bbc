"""What asks the lake and prints: report, sql, trace and diff. Reads only; needs no JVM."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli.edge import in_bounds, settings_of, write
from lakehouse.core.errors import Exit, UsageError
from lakehouse.core.options import MOST, Config, Root
from lakehouse.core.progress import progress
from lakehouse.core.text import say
from lakehouse.explorer.format import Format

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa
    from deltalake import DeltaTable

    from lakehouse.explorer.past import Past
    from lakehouse.explorer.session import Session
    from lakehouse.settings.sections import KafkaSettings
    from lakehouse.settings.settings import Settings

Form = Annotated[Format, typer.Option("--format", help="how to print")]
Raw = Annotated[
    bool, typer.Option("--raw", help="CSV for programs: texts as they are, formulas too")
]
Limit = Annotated[int | None, typer.Option(min=1, max=MOST, help="most rows")]
Version = Annotated[int | None, typer.Option(min=0, max=MOST, help="read tables at a version")]
At = Annotated[str | None, typer.Option(help="read tables as of this time, RFC 3339")]
AsOf = Annotated[str | None, typer.Option(help="the day that recency counts from")]


def report(
    form: Form = Format.table,
    raw: Raw = False,
    version: Version = None,
    at: At = None,
    as_of: AsOf = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Print the complete report: each product's analyses, and how fresh each table is.

    Examples: lakehouse report --root var/demo   |   lakehouse report --format md > report.md
    """
    with_session(
        config, root, version, at, as_of,
        lambda session, settings: write(reported(session, settings, form, raw=raw)),
    )  # fmt: skip


def sql(
    statement: Annotated[str, typer.Argument(help="one SELECT; `SHOW TABLES` lists names")],
    form: Form = Format.table,
    raw: Raw = False,
    limit: Limit = None,
    version: Version = None,
    at: At = None,
    as_of: AsOf = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Run one SELECT over the lake's tables and views.

    Examples: lakehouse sql "SHOW TABLES"   |   lakehouse sql "FROM {table}" --format csv
    """
    with_session(
        config, root, version, at, as_of,
        lambda session, settings: write(answered(session, settings, statement, form, limit, raw)),
    )  # fmt: skip


def trace(
    table: Annotated[str, typer.Argument(help="as in {table}, or bronze.{product}")],
    keys: Annotated[
        list[str] | None, typer.Argument(help="column=value: the row's keys, or its address")
    ] = None,
    form: Form = Format.table,
    limit: Limit = None,
    version: Version = None,
    at: At = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Go from a row back to its events: their addresses in Kafka, their bytes, their commits.

    Keys that are left out mean all their values.

    Examples: lakehouse trace {table} country=France   |
    lakehouse trace quarantine.{product} partition=0 offset=17
    """
    from lakehouse.explorer.origin import row_of

    row = row_of(table, keys or [])

    def traced(session: Session, settings: Settings) -> None:
        from lakehouse.explorer.allowed import SqlRejected
        from lakehouse.explorer.show import Wide, printed
        from lakehouse.explorer.trace import trace as found_of

        session.catalogue.open(table)
        try:
            found = found_of(session, table, row, limit or settings.explorer.row_limit)
        except SqlRejected as error:
            if not error.fault.startswith("Conversion Error"):
                raise
            raise UsageError(
                " ".join(keys or []), error.fault, "write each value as the table shows it"
            ) from None
        if found is None:
            raise _without_origin(table)
        say(f"events of {found.origin.told()}")
        if not found.events.rows.num_rows and not found.origin.is_record:
            say(f"no event of {found.origin.bronze} has that")
        if found.bytes_told:
            say(f"bytes: {found.bytes_told}")
        sections: dict[str, pa.Table | list[dict[str, Any]]] = {"events": found.events.rows}
        sections["commits"] = [asdict(commit) for commit in found.commits]
        for name, data in found.raw.items():
            sections[name] = [{"bytes": line} for line in data]
        write(printed({n: rows for n, rows in sections.items() if len(rows)}, form, Wide.BELOW))
        _more(found.events.more)

    with_session(config, root, version, at, None, traced)


def _without_origin(table: str) -> UsageError:
    """Why nobody knows what a row was made from: whose table it is, or which row is meant."""
    address = "partition=0 offset=17"
    named = {"bronze": address, "quarantine": address, "ledger": "batch_id=3"}
    if asked := named.get(table.partition(".")[0]):
        return UsageError(f"table {table}", "has many rows", f"say which one is meant: {asked}")
    return UsageError(
        f"table {table}", "is declared by no product, so its rows have no known origin",
        "name a table of bronze, silver, quarantine or ledger, as `lakehouse tables` lists",
    )  # fmt: skip


def diff(
    table: Annotated[str, typer.Argument(help="as in {table}")],
    before: Annotated[int, typer.Option("--from", min=0, max=MOST, help="the older version")],
    after: Annotated[int, typer.Option("--to", min=0, max=MOST, help="the newer version")],
    form: Form = Format.table,
    limit: Limit = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Show what changed in a table between two of its versions, row by row.

    Examples: lakehouse diff {table} --from 1 --to 2   |
    lakehouse diff {table} --from 1 --to 2 --format csv
    """
    from lakehouse.explorer.diff import diff as changed
    from lakehouse.explorer.show import Wide, printed

    def shown(session: Session, settings: Settings) -> None:
        most = limit or settings.explorer.row_limit
        with progress(quiet=form is not Format.table or not sys.stderr.isatty()):
            found = changed(session.catalogue, settings.explorer, table, before, after, most)
        if not found.rows.num_rows:
            say(f"{table}: versions {before} and {after} have the same rows")
        write(printed({"changes": found.rows}, form, Wide.BELOW))
        _more(found.more)

    with_session(config, root, None, None, None, shown)


def with_session(
    config: Path | None,
    root: Path | None,
    version: int | None,
    at: str | None,
    as_of: str | None,
    work: Callable[[Session, Settings], None],
) -> None:
    """Do ``work`` with a session on the lake, in bounded memory; TableMissing where it is empty."""
    settings, session = opened(config, root, version, at, as_of)
    with session:
        session.catalogue.require()
        try:
            with in_bounds(settings):
                work(session, settings)
        except KeyboardInterrupt:  # typer would say 1
            raise SystemExit(Exit.INTERRUPTED) from None


def opened(
    config: Path | None, root: Path | None, version: int | None, at: str | None, as_of: str | None,
    *, is_made: bool = True,
) -> tuple[Settings, Session]:  # fmt: skip
    """Settings, and a session on the lake at a version or a time.

    TableMissing where ``is_made`` and there is no such lake; a screen waits for one to come.
    """
    from lakehouse.explorer.catalogue import Catalogue
    from lakehouse.explorer.report import views
    from lakehouse.explorer.session import Session
    from lakehouse.explorer.times import time_of

    settings = settings_of(config, root, logs=False, is_made=is_made)
    then = time_of("--at", at) if at is not None else None
    day = time_of("--as-of", as_of) if as_of is not None else None
    found = views(f"TIMESTAMPTZ '{day.isoformat()}'" if day else None, settings)

    def tell(text: str) -> None:
        session.tell(text)

    past = _past(settings, tell)
    session = Session(Catalogue(settings.lake.root, version, then, past), settings.explorer, found)
    session.kafka = partial(_kafka, settings)
    return settings, session


def _kafka(settings: Settings) -> KafkaSettings:
    """The broker that is named, or the lake's own where it runs; none is started."""
    from lakehouse.services.running import running_services

    return running_services(settings).kafka


def _past(
    settings: Settings, tell: Callable[[str], None]
) -> Callable[[str, int], DeltaTable | None]:
    """Folds silver of a moment whose versions are gone; loads what that needs when asked."""
    found: list[Past] = []

    def open_past(name: str, version: int) -> DeltaTable | None:
        from lakehouse.explorer.past import Past

        if not found:
            found.append(Past(settings, tell))
        return found[0].open(name, version)

    return open_past


def reported(session: Session, settings: Settings, form: Format, *, raw: bool) -> str:
    """The whole report as text."""
    from lakehouse.explorer.report import report as sections
    from lakehouse.explorer.show import Wide, printed
    from lakehouse.explorer.sql import in_time

    with progress(quiet=form is not Format.table or not sys.stderr.isatty()):
        found = sections(session.catalogue, settings.explorer, session.views, say)
    return in_time(settings.explorer, partial(printed, found, form, Wide.FEWER, raw=raw))


def answered(
    session: Session,
    settings: Settings,
    statement: str,
    form: Format,
    limit: int | None,
    raw: bool,
) -> str:
    """One SELECT's rows as text, cut at the row limit with a word about the rest."""
    from lakehouse.explorer.show import Wide, printed
    from lakehouse.explorer.sql import in_time

    answer = session.ask(statement, limit or settings.explorer.row_limit)
    drawn = partial(printed, {"rows": answer.rows}, form, Wide.BELOW, raw=raw)
    text = in_time(settings.explorer, drawn)
    _more(answer.more)
    return text


def _more(count: int) -> None:
    if count:
        say(f"{count:,} more rows: raise --limit to see them")
