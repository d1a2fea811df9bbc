"""``lakehouse status``: how far each flow is, how fresh, and what needs a person."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.edge import in_bounds, settings_of
from lakehouse.core.errors import Exit
from lakehouse.core.options import AsJson, Config, Root

if TYPE_CHECKING:
    import threading

    from lakehouse.explorer.observed import Observer, Seen

_EVERY = 2.0
"""Seconds between two looks."""


def status(
    watch: Annotated[bool, typer.Option("--watch", help="again and again, until Ctrl-C")] = False,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show what landed, how fresh it is, how far each flow is, and what needs a person.

    It only reads, also while nothing runs; of a system that is away it says so. Exit 1 where a
    table cannot be read. A flow's tables are one row, of the farthest behind; --json has each.
    With --watch and --json each look is one line.

    Examples: lakehouse status   |   lakehouse status --watch   |   lakehouse status --json
    """
    from lakehouse.cli.tables import show
    from lakehouse.core.signals import stop_on_signals
    from lakehouse.explorer.observed import Observer
    from lakehouse.explorer.overview import overview
    from lakehouse.services.running import running_services

    settings = settings_of(config, root, logs=False, is_made=True)
    with in_bounds(settings), closing(Observer(settings, running_services)) as observer:
        observer.catalogue.require()
        if not watch:
            seen = observer.look()
            told = overview(seen, is_whole=as_json)
            if "concerns" in told:
                told["concerns"] = told.pop("concerns")  # last: just above what is typed next
            show(told, as_json)
            raise SystemExit(Exit.FAULT if seen.faults else Exit.OK)
        with stop_on_signals() as stop:
            looks = _looks(observer, stop)
            if as_json or not sys.stdout.isatty():
                _lines(looks, as_json)
            else:
                _screen(looks)
        raise SystemExit(Exit.INTERRUPTED if stop.interrupted else Exit.OK)


def _looks(observer: Observer, stop: threading.Event) -> Iterator[Seen]:
    while not stop.is_set():
        yield observer.look()
        stop.wait(_EVERY)


def _lines(looks: Iterator[Seen], as_json: bool) -> None:
    from lakehouse.core.text import as_json as written
    from lakehouse.explorer.format import Format
    from lakehouse.explorer.overview import overview
    from lakehouse.explorer.show import Wide, printed

    for seen in looks:
        told = overview(seen, is_whole=as_json)
        line = f"{written(told)}\n" if as_json else printed(told, Format.table, Wide.FEWER)
        sys.stdout.write(line)
        sys.stdout.flush()


def _screen(looks: Iterator[Seen]) -> None:
    """A picture that is drawn again, of the columns that the terminal has room for."""
    from rich.live import Live
    from rich.text import Text

    from lakehouse.core.text import printable
    from lakehouse.explorer.format import Format
    from lakehouse.explorer.overview import overview
    from lakehouse.explorer.show import Wide, render

    with Live(screen=True, auto_refresh=False) as live:
        for seen in looks:
            wide = live.console.width
            head = f"{seen.at:%Y-%m-%d %H:%M:%S} UTC · every {_EVERY:.0f} s, Ctrl-C ends it · "
            drawn = render(overview(seen), Format.table, wide, color=True, wide=Wide.FITS)
            shown = Text(f"{head}{printable(seen.root)}"[:wide] + "\n", style="bold")
            live.update(shown.append_text(Text.from_ansi(drawn, no_wrap=True)), refresh=True)
