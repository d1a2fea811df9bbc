"""The sales producer: a shop's orders, or a retail file, to Kafka.

python producers/sales_producer.py                       # an order every 2 seconds
python producers/sales_producer.py --rate 1000 --late 0.02 --corrupt 0.01
python producers/sales_producer.py --count 100000 --seed 7
python producers/sales_producer.py --replay online_retail.csv --speed 3600
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if __package__ in {None, ""}:  # run as a file: the project's folder is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lakehouse.contracts import load_settings
from lakehouse.core.errors import Exit, LakehouseError, UsageError
from lakehouse.core.settings import Settings
from producers import retail
from producers.message import Message
from producers.sales_generator import SalesGenerator, Shares
from producers.sending import Summary, send
from producers.shop import make_shop

HISTORY_DAYS = 30
"""Days that a counted run spreads its events over."""
NARRATION = Console(stderr=True)
Fraction = Annotated[float | None, typer.Option(min=0, max=1)]


def generator(settings: Settings, seed: int, run_id: str, shares: Shares) -> SalesGenerator:
    """The generator of the shop that [producer] describes."""
    producer = settings.producer
    shop = make_shop(seed, producer.clients, producer.products)
    return SalesGenerator(shop, seed, run_id, shares)


def paced(messages: Iterable[Message], rate: float, stop: threading.Event) -> Iterator[Message]:
    """Messages at so many orders a second."""
    due, order = time.monotonic(), None
    for message in messages:
        if message.order != order:
            order = message.order
            due += 1 / rate
            if (wait := due - time.monotonic()) > 0 and stop.wait(wait):
                return
        yield message


def replayed(messages: Iterable[Message], speed: float, stop: threading.Event) -> Iterator[Message]:
    """Messages at ``speed`` times the pace of their event times."""
    first, started = None, time.monotonic()
    for message in messages:
        first = first or message.event_time
        due = started + (message.event_time - first).total_seconds() / speed
        if (wait := due - time.monotonic()) > 0 and stop.wait(wait):
            return
        yield message


def live(shop: SalesGenerator, rate: float, stop: threading.Event) -> Iterator[Message]:
    """Orders placed now, until ``stop``."""
    due = time.monotonic()
    while not stop.is_set():
        yield from shop.order_now(datetime.now(UTC))
        due += 1 / rate
        if (wait := due - time.monotonic()) > 0:
            stop.wait(wait)


def run(
    config: Annotated[Path | None, typer.Option(help="config.ini to read")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="orders a second; 0: no pause")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="stop after so many events")] = None,
    seed: Annotated[int | None, typer.Option(help="the same seed makes the same events")] = None,
    late: Fraction = None,
    duplicates: Fraction = None,
    corrupt: Fraction = None,
    replay: Annotated[Path | None, typer.Option(help="a retail CSV to send instead")] = None,
    speed: Annotated[
        float | None, typer.Option(min=0, help="with --replay: times real time")
    ] = None,
    bootstrap_servers: Annotated[str | None, typer.Option(help="the broker")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="summary as JSON on stdout")] = False,
) -> None:
    """Send sales events to Kafka: one order every 2 seconds, unless told otherwise.

    Examples: --rate 100 --corrupt 0.01   |   --count 100000   |   --replay retail.csv.gz
    """
    stop = threading.Event()
    interrupted = threading.Event()

    def on_signal(number: int, _frame: Any) -> None:
        stop.set()
        if number == signal.SIGINT:
            interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    settings = load_settings(config)
    if bootstrap_servers:
        settings = settings.with_kafka(bootstrap_servers)
    if not settings.kafka.bootstrap_servers:
        raise UsageError(
            "[kafka] bootstrap_servers",
            "is empty, and a producer of its own starts no broker",
            "give --bootstrap-servers, or use `lakehouse produce`",
        )
    given = settings.producer
    shares = Shares(
        given.late if late is None else late,
        given.duplicates if duplicates is None else duplicates,
        given.corrupt if corrupt is None else corrupt,
    )
    seed = given.seed if seed is None else seed
    if replay:
        total: int | None = retail.count_lines(replay)
        messages: Iterable[Message] = retail.read(replay)
        messages = replayed(messages, speed, stop) if speed else messages
    elif count:
        total = count
        shop = generator(settings, seed, f"s{seed}n{count}", shares)
        messages = shop.history(count, datetime.now(UTC), HISTORY_DAYS)
        messages = paced(messages, rate, stop) if rate else messages
    else:
        total = None
        run_id = f"s{seed}t{int(time.time() * 1000):x}"
        pace = given.rate if rate is None else rate
        messages = live(generator(settings, seed, run_id, shares), pace or 1e9, stop)
    summary = send(settings, messages, total=total, stop=stop, console=NARRATION)
    show(summary, as_json=as_json)
    if summary.failed:
        raise SystemExit(Exit.FAULT)
    raise SystemExit(Exit.INTERRUPTED if interrupted.is_set() else Exit.OK)


def show(summary: Summary, *, as_json: bool) -> None:
    """The closing summary: JSON on stdout, or a table on stderr."""
    if as_json:
        sys.stdout.write(json.dumps(summary.as_dict()) + "\n")
        return
    table = Table(title=f"sent in {summary.seconds:.1f} s")
    table.add_column("what")
    table.add_column("records", justify="right")
    rows = {
        "sent": summary.sent,
        "acknowledged": summary.acknowledged,
        "failed": summary.failed,
        **dict(sorted(summary.by_kind.items())),
    }
    for name, number in rows.items():
        table.add_row(name, f"{number:,}")
    NARRATION.print(table)
    if summary.error:
        NARRATION.print(f"last failure: {summary.error}", markup=False)


def main() -> None:
    """The command; a user's mistake is one message, not a traceback."""
    try:
        typer.run(run)
    except LakehouseError as error:
        NARRATION.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
