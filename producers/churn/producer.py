"""The producer of customers: generated ones, or a file's, to Kafka.

python producers/churn/producer.py                          # five customers a second
python producers/churn/producer.py --rate 100 --corrupt 0.01
python producers/churn/producer.py --count 10000 --seed 7 --days 90
python producers/churn/producer.py --csv customers.csv --batch-size 500
python producers/churn/producer.py --csv customers.csv --dry-run
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if __package__ in {None, ""}:  # if run as a file, the project's folder is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lakehouse.core.errors import UsageError
from lakehouse.core.options import Config, Root, script
from lakehouse.core.progress import progress
from lakehouse.core.signals import stop_on_signals
from producers.command import (
    AsJson,
    Broker,
    Corrupt,
    Count,
    Seed,
    Topic,
    counted,
    leave,
    settings_of,
    show,
)

if TYPE_CHECKING:
    from producers.message import Message
    from producers.sending import Summary

DAYS = 90
"""Days over which a run with --count spreads its events."""
Rate = Annotated[float | None, typer.Option(min=0, help="customers a second; 0: no pause")]
Days = Annotated[
    float, typer.Option(min=0.001, help="with --count: days that the events are spread over")
]
OfFile = Annotated[Path | None, typer.Option(help="a file of customers to send, plain or .gz")]
BatchSize = Annotated[
    int, typer.Option(min=1, help="with --csv: rows that are acknowledged at a time")
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="with --csv: the file that says how far; else in the lake")
]
FromFirstRow = Annotated[bool, typer.Option("--anew", help="with --csv: from its first row again")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="write the records to stdout, and send nothing")
]


def history(
    count: int, seed: int, corrupt: float, now: datetime, days: float = DAYS
) -> Iterator[Message]:
    """The messages of ``count`` events, spread evenly over the days before ``now``."""
    from producers.churn.customers import Customers
    from producers.churn.events import messages

    step = timedelta(days=days) / count
    times = (now - step * (count - n) for n in range(count))
    told = zip(times, Customers(seed), strict=False)
    return messages(told, seed, f"s{seed}n{count}t{int(now.timestamp()):x}", corrupt)


def live(rate: float, seed: int, corrupt: float, stop: threading.Event) -> Iterator[Message]:
    """The messages of what becomes known now, ``rate`` a second, until ``stop`` is set."""
    from producers.churn.customers import Customers
    from producers.churn.events import messages
    from producers.pacing import as_it_happens

    run_id = f"s{seed}t{int(time.time() * 1000):x}"
    return messages(as_it_happens(Customers(seed), rate, stop), seed, run_id, corrupt)


def run(
    rate: Rate = None,
    count: Count = None,
    days: Days = DAYS,
    seed: Seed = None,
    corrupt: Corrupt = None,
    csv: OfFile = None,
    batch_size: BatchSize = 1000,
    checkpoint: Checkpoint = None,
    anew: FromFirstRow = False,
    dry_run: DryRun = False,
    topic: Topic = None,
    bootstrap_servers: Broker = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send customers to Kafka: five a second, unless told otherwise; or a file, in chunks.

    A file that was cut short is continued.

    Examples: --rate 100 --corrupt 0.01   |   --count 10000   |
    --csv customers.csv --batch-size 500   |   --count 3 --dry-run
    """
    from lakehouse.products.churn.contract import CUSTOMERS
    from lakehouse.products.churn.settings import churn_of
    from producers.sending import send

    if (anew or checkpoint) and not csv:
        raise UsageError("--anew and --checkpoint", "are of a file", "give --csv FILE too")
    if csv and (seed is not None or rate is not None):
        raise UsageError("--csv", "is neither generated nor paced", "leave --seed and --rate out")
    settings = settings_of(
        "churn", config, bootstrap_servers, topic, root, needs_broker=not dry_run
    )  # fmt: skip
    given = churn_of(settings)
    with progress(quiet=as_json), stop_on_signals() as stop:

        def deliver(messages: Iterable[Message], total: int | None = None) -> Summary:
            if dry_run:
                return counted(messages, stop, sys.stdout if not as_json else None)
            return send(settings, CUSTOMERS, messages, total=total, stop=stop)

        if csv:
            from producers.churn.batch import Batch

            place = checkpoint or Batch.place_of(Path(settings.lake.root), csv, given.topic)
            batch = Batch(csv, place, given.topic, batch_size, corrupt or 0.0, is_kept=not dry_run)
            summary = batch.send(datetime.now(UTC), count, deliver, stop, anew=anew)
        else:
            seed = given.seed if seed is None else seed
            broken = given.corrupt if corrupt is None else corrupt
            pace = None if count and rate is None else given.rate if rate is None else rate
            summary = deliver(_generated(count, days, pace, seed, broken, stop), count)
    show(summary, as_json=as_json)
    leave(summary, stop)


def _generated(
    count: int | None,
    days: float,
    rate: float | None,
    seed: int,
    corrupt: float,
    stop: threading.Event,
) -> Iterator[Message]:
    """A history of ``count`` events, at a rate where one is given; without a count, live ones."""
    from producers.pacing import AT_ONCE, paced

    if count is None:
        return live(rate or AT_ONCE, seed, corrupt, stop)
    messages = history(count, seed, corrupt, datetime.now(UTC), days)
    return paced(messages, rate, stop) if rate else messages


if __name__ == "__main__":
    script(run)
