"""The verbs that run flows: run, up, demo, produce."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.edge import settings_of
from lakehouse.cli.start import broker, database, engine, refuse_services, session_in_background
from lakehouse.core.errors import UsageError
from lakehouse.core.options import Config, Root
from lakehouse.core.paths import own_command
from lakehouse.core.signals import Stopped, stop_on_signals
from lakehouse.core.text import say

if TYPE_CHECKING:
    from producers.sending import Summary

UNLESS_ENDED = suppress(Stopped)
"""Around a flow: SIGTERM before there is anything in hand ends it too, and is no fault."""


def run_flows(
    flows: Annotated[list[str], typer.Argument(help="flows, as in sales.bronze sales.silver")],
    available_now: Annotated[
        bool, typer.Option("--available-now", help="take in what is there, then end")
    ] = False,
    root: Root = None,
    config: Config = None,
) -> None:
    """Run flows in this process until Ctrl-C, or until what is there is taken in.

    Examples: lakehouse run sales.bronze sales.silver   |
    lakehouse run sales.silver --available-now
    """
    from lakehouse.runtime.driver import flow, run, say_stopping
    from lakehouse.runtime.session import session

    settings = settings_of(config, root)
    chosen = [flow(name) for name in flows]
    with UNLESS_ENDED, broker(settings) as settings, stop_on_signals(say_stopping) as stop:
        run(
            chosen,
            settings,
            lambda: session(settings, "+".join(flows), engine()),
            available_now=available_now,
            stop=stop,
        )


def up(
    rate: Annotated[float | None, typer.Option(min=0.001, help="orders a second")] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """A live shop until Ctrl-C: the broker, the producer of sales, sales.bronze and sales.silver.

    Orders run beside it: lakehouse capture orders, and run orders.bronze orders.silver.

    Examples: lakehouse up   |   lakehouse up --rate 50
    """
    from rich.console import Console

    from lakehouse.products.sales.tables import FLOWS
    from lakehouse.runtime.driver import run, say_stopping
    from producers.sales.generator import Shares
    from producers.sales.producer import generator, live, show
    from producers.sending import send

    settings = settings_of(config, root)
    given = settings.producer
    shop = generator(
        settings, given.seed, f"s{given.seed}t{int(time.time() * 1000):x}",
        Shares(given.late, given.duplicates, given.corrupt),
    )  # fmt: skip
    sent: list[Summary] = []
    with UNLESS_ENDED, broker(settings) as settings, stop_on_signals(say_stopping) as stop:
        wait = session_in_background(settings, "up", stop)
        quiet = Console(file=sys.stderr, force_terminal=False)
        messages = live(shop, rate or given.rate, stop)
        producer = threading.Thread(
            target=lambda: sent.append(send(settings, messages, stop=stop, console=quiet))
        )
        producer.start()
        say(f"producing; Ctrl-C ends it. Look with: {own_command()} explore")
        try:
            run(FLOWS, settings, wait, stop=stop)
        finally:
            stop.set()
            producer.join()
    for summary in sent:
        show(summary, as_json=False)


def demo(
    product: Annotated[str, typer.Argument(help="sales or orders")] = "sales",
    replay: Annotated[Path | None, typer.Option(help="a retail CSV to send instead")] = None,
    count: Annotated[int, typer.Option(min=100, help="sales to generate")] = 100_000,
    root: Annotated[
        Path | None, typer.Option(help="the demo's own lake, made anew; var/demo")
    ] = None,
    config: Config = None,
) -> None:
    """Produce, land, aggregate, report, and prove: produced = landed. Exit 0 when it holds.

    Of orders: a table in Postgres, captured and landed in two rounds, and compared with it.

    Examples: lakehouse demo   |   lakehouse demo --replay online_retail.csv.gz   |
    lakehouse demo orders
    """
    if product not in {"sales", "orders"}:
        raise UsageError(f"product {product!r}", "has no demo", "use sales or orders")
    root = root or Path("var/demo" if product == "sales" else f"var/demo-{product}")
    settings = settings_of(config, root)
    refuse_services(root)
    settings = settings.model_copy(
        update={"logging": settings.logging.model_copy(update={"level": "warning"})}
    )
    from lakehouse.core.logging import configure_logging

    configure_logging(settings.logging.format, settings.logging.level)
    if product == "orders":
        from lakehouse.products.orders import demo as orders

        raise SystemExit(
            orders.demo(
                settings, say,
                broker=broker, database=database, start_session=session_in_background,
            )
        )  # fmt: skip
    from lakehouse.products.sales import demo as sales

    raise SystemExit(
        sales.demo(settings, count, replay, say, broker=broker, start_session=session_in_background)
    )


def produce(
    context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument()] = None
) -> None:
    """Send sales events; options are those of producers/sales/producer.py (see --help there)."""
    from producers.sales.producer import run as produce_sales

    sales = typer.Typer(add_completion=False, rich_markup_mode=None)
    sales.command()(produce_sales)
    command = partial(sales, prog_name="lakehouse produce")
    words = [*(arguments or []), *context.args]
    if "--help" in words or "--bootstrap-servers" in words:
        command(words)
    with broker(settings_of(None, logs=False)) as settings:
        command([*words, "--bootstrap-servers", settings.kafka.bootstrap_servers])
