"""The verbs that run flows: run, up, demo, produce."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.edge import settings_of
from lakehouse.cli.examples import Verb
from lakehouse.cli.products import (
    Sources,
    chosen,
    loaded,
    must_plan,
    sender,
    with_part,
    with_postgres,
    writes_postgres,
)
from lakehouse.cli.serve import metrics, with_dashboard
from lakehouse.cli.start import (
    broker,
    database,
    empty_services,
    refuse_services,
    session_in_background,
)
from lakehouse.core.errors import Exit
from lakehouse.core.options import AvailableNow, Config, MetricsPort, Root
from lakehouse.core.paths import own_command, root_option
from lakehouse.core.progress import progress
from lakehouse.core.signals import Stopped, stop_on_signals
from lakehouse.core.text import say
from lakehouse.products.registry import must_be_whole, products

if TYPE_CHECKING:
    from lakehouse.model.product import Product

UNLESS_ENDED = suppress(Stopped)
"""Around a flow: SIGTERM before there is anything in hand ends it too, and is no fault."""


def run_flows(
    flows: Annotated[list[str], typer.Argument(help="as in {product}.bronze {product}.silver")],
    available_now: AvailableNow = False,
    metrics_port: MetricsPort = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Run flows in this process until Ctrl-C, or with --available-now until they are up to date.

    Examples: lakehouse run {product}.bronze {product}.silver   |
    lakehouse run {product}.silver --available-now
    """
    from lakehouse.cli.panel import panel
    from lakehouse.model.flow import BronzeFlow
    from lakehouse.runtime.driver import flow, run, say_stopping
    from lakehouse.runtime.session import session

    settings = settings_of(config, root)
    chosen = [flow(name) for name in flows]
    with (
        UNLESS_ENDED,
        broker(settings) as settings,
        database(settings) if writes_postgres(chosen) else nullcontext(settings) as settings,
        stop_on_signals(say_stopping) as stop,
    ):
        name = "+".join(flows)
        if any(isinstance(f, BronzeFlow) for f in chosen):
            spark = session_in_background(settings, name, stop)  # while tables are opened
        else:
            spark = partial(session, settings, name)  # none of them asks for it
        with (
            metrics(settings, metrics_port) as address,
            panel(settings, "lakehouse run", flows) as tell,
        ):
            if address:
                tell(f"metrics: {address}/metrics")
            run(chosen, settings, spark, available_now=available_now, stop=stop)


def up(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[PRODUCT]...", help="all that are switched on")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="events a second of each source, as --rate of produce"),
    ] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Run products until Ctrl-C: the broker, sources of events, all of their flows, and pages.

    Runs the products named, or each whose section of config.ini has enabled = true. If one
    needs Postgres and [postgres] names none, an embedded one is started. Ctrl-C ends the sources,
    lands what they sent, and ends; a second one ends at once.

    Examples: lakehouse up   |   lakehouse up --rate 50   |   lakehouse up {product}
    """
    from lakehouse.cli.drained import landed_first, say_landing
    from lakehouse.cli.panel import panel
    from lakehouse.runtime.driver import locked, run

    settings = settings_of(config, root)
    running = chosen(names or [], settings)
    with (
        UNLESS_ENDED,
        broker(settings) as settings,
        with_postgres(settings, running, database) as settings,
        stop_on_signals(say_landing) as stop,
    ):
        from lakehouse.core.restarts import restarted

        flows = [f for p in running for f in p.flows]
        with locked(flows, settings):
            pass  # a lake that runs already is refused before anything is sent
        wait = session_in_background(settings, "up", stop)
        sources = Sources(settings, stop, rate)
        sources.start(running)
        told = ", ".join(p.name for p in running)
        look = f"{own_command()} explore {root_option(settings.lake.root)}"
        say(f"producing: {told}; Ctrl-C ends it. Look with: {look}")
        try:
            with (
                panel(settings, f"lakehouse up {told}", [f.name for f in flows]) as tell,
                with_dashboard(settings, config, tell),
                landed_first(flows, settings, stop, sources.wait) as landed,
            ):
                restarted("the flows", lambda: run(flows, settings, wait, stop=landed), landed)
        finally:
            sources.end()


def demo(
    product: Annotated[str | None, typer.Argument(help="the main one without a name")] = None,
    replay: Annotated[Path | None, typer.Option(help="a file to send instead: a CSV")] = None,
    count: Annotated[int, typer.Option(min=100, help="events to generate")] = 100_000,
    root: Annotated[
        Path | None, typer.Option(help="the demo's own lake, recreated each time; var/demo")
    ] = None,
    config: Config = None,
) -> None:
    """Produce, land, aggregate, report, and prove: produced = landed. Exit 0 when it holds.

    What is shown is the product's own; `lakehouse products` names them.

    Examples: lakehouse demo   |   lakehouse demo {product}
    """
    found = with_part(product, "demo")
    root = root or Path("var/demo" if found.is_main else f"var/demo-{found.name}")
    settings = settings_of(config, root)
    must_plan(found)
    refuse_services(root)
    settings = settings.changed(logging={"level": "warning"})
    from lakehouse.core.logging import configure_logging
    from lakehouse.runtime.demo import Stage

    configure_logging(settings.logging.format, settings.logging.level)
    with ExitStack() as later, progress():
        stage = Stage(
            settings, say, broker, database, empty_services, session_in_background, count, replay,
            later,
        )  # fmt: skip
        code = loaded(found, "demo").demo(stage)
    if code is Exit.INTERRUPTED:
        say(f"stopped before it was done: what landed stays in {root} until the next demo")
    raise SystemExit(code)


def produce(
    context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument()] = None
) -> None:
    """Send events of a product, by default of the main one; see produce PRODUCT --help.

    Examples: lakehouse produce --count 1000   |   lakehouse produce {product} --help
    """
    words = [*(arguments or []), *context.args]
    if words:
        must_be_whole(words[0])
    name = None if not words or words[0].startswith("-") else words.pop(0)
    found = with_part(name, "source")
    if "--help" not in words:
        must_plan(found)
    verb = typer.Typer(add_completion=False, rich_markup_mode=None)
    verb.command(cls=Verb, epilog="" if name else _of_others(found))(sender(found))
    place = f"lakehouse produce{f' {name}' if name else ''}"
    command = partial(verb, prog_name=place)
    if {"--help", "--bootstrap-servers", "--dry-run"}.intersection(words):
        command(words)
    typer.main.get_command(verb).make_context(place, [*words])  # or nothing is started
    with (
        broker(settings_of(_named(words, "--config"), _named(words, "--root"))) as settings,
        with_postgres(settings, [found], database) as settings,
    ):
        command([*words, "--bootstrap-servers", settings.kafka.bootstrap_servers])


def _of_others(main: Product) -> str:
    """What the help of ``produce`` says of the products that it does not send by itself."""
    others = [p.name for p in products().values() if p.source and p is not main]
    more = "  ".join(f"lakehouse produce {name} --help" for name in others)
    return f"Other products have options of their own: {more}" if others else ""


def _named(words: Sequence[str], option: str) -> Path | None:
    """The path that an option of a verb names which is not parsed yet."""
    for word, value in zip(words, (*words[1:], ""), strict=True):
        if word == option or word.startswith(f"{option}="):
            return Path(word.partition("=")[2] or value)
    return None
