"""The sales producer: a shop's orders, or a retail file, to Kafka.

python producers/sales/producer.py                       # an order every 2 seconds
python producers/sales/producer.py --rate 1000 --late 0.02 --corrupt 0.01
python producers/sales/producer.py --count 100000 --seed 7
python producers/sales/producer.py --replay online_retail.csv --speed 3600
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if __package__ in {None, ""}:  # if run as a file, the project's folder is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lakehouse.core.options import Config, Root, script
from lakehouse.core.progress import progress
from lakehouse.core.signals import stop_on_signals
from producers import command
from producers.command import AsJson, Broker, Corrupt, Count, Seed, Topic, leave, settings_of

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings
    from producers.message import Message
    from producers.sales.generator import SalesGenerator, Shares
    from producers.sending import Summary

HISTORY_DAYS = 30
"""Days over which a run with --count spreads its events."""


def generator(settings: Settings, seed: int, run_id: str, shares: Shares) -> SalesGenerator:
    """The generator of the shop that [sales] describes."""
    from lakehouse.products.sales.settings import sales_of
    from producers.sales.generator import SalesGenerator
    from producers.sales.shop import make_shop

    producer = sales_of(settings)
    shop = make_shop(seed, producer.clients, producer.products)
    return SalesGenerator(shop, seed, run_id, shares)


def produce(
    settings: Settings,
    source: Iterable[Message],
    *,
    rate: float | None = None,
    total: int | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Send the messages of ``source``, at ``rate`` orders a second where one is given.

    ``total`` is what its progress is told of. Setting ``stop`` ends
    it after the current message; everything sent is flushed first.
    """
    from lakehouse.products.sales.contract import SALES
    from producers.pacing import paced
    from producers.sending import send

    stop = stop or threading.Event()
    messages = paced(source, rate, stop) if rate else source
    return send(settings, SALES, messages, total=total, stop=stop)


def live(shop: SalesGenerator, rate: float, stop: threading.Event) -> Iterator[Message]:
    """Yields orders placed now, until ``stop`` is set."""
    from producers.pacing import as_it_happens

    for now, _ in as_it_happens(itertools.repeat(None), rate, stop):
        yield from shop.order_now(now)


def run(
    rate: Annotated[float | None, typer.Option(min=0, help="orders a second; 0: no pause")] = None,
    count: Count = None,
    days: Annotated[
        int, typer.Option(min=1, help="with --count: of so many days; late where bronze is newer")
    ] = HISTORY_DAYS,
    seed: Seed = None,
    late: Annotated[
        float | None, typer.Option(min=0, max=1, help="share of events sent after the watermark")
    ] = None,
    duplicates: Annotated[
        float | None, typer.Option(min=0, max=1, help="share of events sent twice")
    ] = None,
    corrupt: Corrupt = None,
    replay: Annotated[Path | None, typer.Option(help="a retail CSV to send, plain or .gz")] = None,
    speed: Annotated[
        float | None, typer.Option(min=0, help="with --replay: times real time; else no pause")
    ] = None,
    topic: Topic = None,
    bootstrap_servers: Broker = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send sales events to Kafka: one order every 2 seconds, unless told otherwise.

    Examples: --rate 100 --corrupt 0.01   |   --count 100000   |   --replay retail.csv.gz
    """
    from lakehouse.products.sales.settings import sales_of
    from producers.pacing import AT_ONCE
    from producers.sales import retail
    from producers.sales.generator import Shares

    settings = settings_of("sales", config, bootstrap_servers, topic, root)
    given = sales_of(settings)
    messages: Iterable[Message]
    total: int | None
    with progress(quiet=as_json), stop_on_signals() as stop:
        if replay:
            messages, total = retail.messages(replay, count, speed, stop)
        else:
            shares = Shares(
                given.late if late is None else late,
                given.duplicates if duplicates is None else duplicates,
                given.corrupt if corrupt is None else corrupt,
            )
            seed = given.seed if seed is None else seed
            run_id = f"s{seed}n{count}" if count else f"s{seed}t{int(time.time() * 1000):x}"
            shop, total = generator(settings, seed, run_id, shares), count
            if count:
                messages = shop.history(count, datetime.now(UTC), days)
            else:
                messages = live(shop, (given.rate if rate is None else rate) or AT_ONCE, stop)
        pace = rate if count or replay else None
        summary = produce(settings, messages, rate=pace, total=total, stop=stop)
    show(summary, as_json=as_json)
    leave(summary, stop)


def show(summary: Summary, *, as_json: bool) -> None:
    """The closing summary, with the net revenue of what was sent."""
    revenue = {currency: str(net) for currency, net in sorted(summary.amounts.items())}
    command.show(summary, as_json=as_json, more={"net_revenue": revenue})


if __name__ == "__main__":
    script(run)
