"""The verbs about what flows send on: ``lakehouse sink``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from lakehouse.cli.edge import saying_where_it_is_cut, settings_of, write_json
from lakehouse.cli.examples import Verb
from lakehouse.core.options import AsJson, Config, Root, group
from lakehouse.core.progress import progress
from lakehouse.core.text import say

_CUT = "stopped: a table that was begun is as it was; the same command does the rest"

app = group("What is sent to Postgres and Kafka. Example: lakehouse sink refill PRODUCT")


@app.callback()
def _sinks() -> None:
    """It has verbs, and does nothing itself."""


@app.command("refill", cls=Verb)
def refill(
    product: Annotated[str, typer.Argument(help="as in {sink}")],
    table: Annotated[str | None, typer.Option(help="one table in Postgres; else all")] = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Fill a product's tables in Postgres and its topic again, whatever they hold.

    Tables become what silver is, in one transaction each; a topic gets the rows that it lacks.
    Refused while a flow fills them; exit 6 names it.

    Examples: lakehouse sink refill {sink}   |   lakehouse sink refill {sink} --json
    """
    from lakehouse.cli.products import writes_postgres
    from lakehouse.cli.start import broker, database
    from lakehouse.model.sink import KafkaSink
    from lakehouse.operations.refill import refill as fill
    from lakehouse.operations.refill import sinks_of

    settings = settings_of(config, root, is_made=True)
    sinks = sinks_of(product, table)
    with ExitStack() as stack:
        if writes_postgres(sinks):
            settings = stack.enter_context(database(settings))
        if any(isinstance(sink, KafkaSink) for sink in sinks):
            settings = stack.enter_context(broker(settings))
        stack.enter_context(progress(quiet=as_json))
        stack.enter_context(saying_where_it_is_cut(_CUT))
        filled = fill(product, table, settings)
    if as_json:
        write_json({"product": product, "filled": filled})
    for name in filled:
        say(f"filled: {name}")
