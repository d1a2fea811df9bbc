"""The activity producer: users on pages, or a file of another site's events, to Kafka.

python producers/activity/producer.py                       # five events a second
python producers/activity/producer.py --rate 1000 --late 0.02 --late-by 300 --corrupt 0.01
python producers/activity/producer.py --count 100000 --seed 7
python producers/activity/producer.py --replay edits.json.gz --speed 60 \
    --map user_id=user page_url=page event_time=time
"""

from __future__ import annotations

import itertools
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
    leave,
    settings_of,
    show,
)

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings
    from producers.activity.generator import Shares
    from producers.message import Message

HISTORY_HOURS = 24
"""Hours over which a run with --count spreads its events."""
MoreFields = Annotated[
    list[str] | None, typer.Argument(metavar="FIELD=PLACE", help="more of --map")
]
Rate = Annotated[float | None, typer.Option(min=0, help="events a second; 0: no pause")]
Hours = Annotated[
    int, typer.Option(min=1, help="with --count: hours that the events are spread over")
]
Late = Annotated[
    float | None, typer.Option(min=0, max=1, help="share of events sent after the watermark")
]
LateBy = Annotated[float, typer.Option(min=0, help="seconds by which late events are sent later")]
OutOfOrder = Annotated[
    float | None, typer.Option(min=0, max=1, help="share sent up to 90 s after later ones")
]
Duplicates = Annotated[float | None, typer.Option(min=0, max=1, help="share of events sent twice")]
Replay = Annotated[Path | None, typer.Option(help="a file of JSON lines to send, plain or .gz")]
Fields = Annotated[
    list[str] | None,
    typer.Option("--map", help="with --replay: where a line has a field, as user_id=user"),
]
Speed = Annotated[
    float | None, typer.Option(min=0, help="with --replay: times real time; else no pause")
]


def history(
    settings: Settings, count: int, seed: int, shares: Shares, hours: int = HISTORY_HOURS
) -> Iterator[Message]:
    """The messages of ``count`` events of the last hours, as [activity] describes the users."""
    from lakehouse.products.activity.settings import activity_of
    from producers.activity.generator import Sent
    from producers.activity.visits import Visits

    given = activity_of(settings)
    visits = Visits(seed, given.users, given.pages)
    sent = Sent(seed, f"s{seed}n{count}", shares)
    return sent.messages(visits.history(count, datetime.now(UTC), hours))


def live(
    settings: Settings, rate: float, seed: int, shares: Shares, stop: threading.Event
) -> Iterator[Message]:
    """The messages of what users do now, ``rate`` a second, until ``stop`` is set."""
    from lakehouse.products.activity.settings import activity_of
    from producers.activity.generator import Sent
    from producers.activity.visits import Done, Visits
    from producers.pacing import as_it_happens

    given = activity_of(settings)
    visits = Visits(seed, given.users, given.pages)
    sent = Sent(seed, f"s{seed}t{int(time.time() * 1000):x}", shares)
    seen = as_it_happens(visits.now(rate), rate, stop)
    return sent.messages(Done(now, user, page, what) for now, (user, page, what) in seen)


def run(
    more: MoreFields = None,
    rate: Rate = None,
    count: Count = None,
    hours: Hours = HISTORY_HOURS,
    seed: Seed = None,
    late: Late = None,
    late_by: LateBy = 600,
    out_of_order: OutOfOrder = None,
    duplicates: Duplicates = None,
    corrupt: Corrupt = None,
    replay: Replay = None,
    fields: Fields = None,
    speed: Speed = None,
    topic: Topic = None,
    bootstrap_servers: Broker = None,
    root: Root = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send activity of users to Kafka: five events a second, unless told otherwise.

    Examples: --rate 100 --corrupt 0.01   |   --count 100000   |
    --replay edits.json.gz --map user_id=user page_url=page event_time=time
    """
    from lakehouse.products.activity.contract import ACTIVITY
    from lakehouse.products.activity.settings import activity_of
    from producers.activity.generator import Shares
    from producers.pacing import AT_ONCE, paced
    from producers.sending import send

    if (fields or more) and not replay:
        raise UsageError("--map", "says where a file has the fields", "give --replay FILE too")
    settings = settings_of("activity", config, bootstrap_servers, topic, root)
    given = activity_of(settings)
    shares = Shares(
        given.late if late is None else late,
        given.out_of_order if out_of_order is None else out_of_order,
        given.duplicates if duplicates is None else duplicates,
        given.corrupt if corrupt is None else corrupt,
        timedelta(seconds=late_by),
    )
    seed = given.seed if seed is None else seed
    messages: Iterable[Message]
    with progress(quiet=as_json), stop_on_signals() as stop:
        if replay:
            messages, total = _replayed(
                replay, [*(fields or ()), *(more or ())], count, speed, stop
            )
        elif count:
            messages, total = history(settings, count, seed, shares, hours), count
        else:
            pace = (given.rate if rate is None else rate) or AT_ONCE
            messages, total = live(settings, pace, seed, shares, stop), None
        if rate and total:
            messages = paced(messages, rate, stop)
        summary = send(settings, ACTIVITY, messages, total=total, stop=stop)
    show(summary, as_json=as_json)
    leave(summary, stop)


def _replayed(
    path: Path, pairs: list[str], count: int | None, speed: float | None, stop: threading.Event
) -> tuple[Iterable[Message], int]:
    """The file's messages, ``speed`` times as fast as they happened where given; how many."""
    from producers.activity.replay import count_lines, mapping, read
    from producers.pacing import replayed

    fields = mapping(pairs)
    lines = count_lines(path)
    total = min(lines, count or lines)
    some = itertools.islice(read(path, fields), total)
    return (replayed(some, speed, stop) if speed else some), total


if __name__ == "__main__":
    script(run)
