"""``python -m bench``: measure, and write docs/performance.md.

python -m bench drain                    # beside the peers: about 25 minutes
python -m bench drain --events 200000 --runs 1 --habit compact --no-write
python -m bench freshness                # at 1,000 and 10,000 events/s: 11 minutes
python -m bench growth                   # silver by what it knows: about 10 minutes
python -m bench soak --minutes 60        # left running at 2,000 events/s
python -m bench activity                 # with its sinks: about 15 minutes
python -m bench churn                    # a model scores: about 5 minutes
python -m bench explore                  # what is waited for: about 12 minutes
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import churn_report
from bench.activity import IN_POSTGRES, crowd, database, drained_into_sinks, topics_of
from bench.churn import measured
from bench.drain import drain
from bench.events import HABITS, Habit, fill, source
from bench.explore import explore_section, explore_targets, explored, made
from bench.freshness import freshness
from bench.growth import SIZES, growth
from bench.report import (
    ACTIVITY,
    CHURN,
    DRAIN,
    EXPLORE,
    FRESHNESS,
    GROWTH,
    PATH,
    SOAK,
    Target,
    activity_section,
    activity_targets,
    drain_section,
    drain_targets,
    fresh_section,
    fresh_targets,
    growth_section,
    soak_section,
    with_section,
)
from bench.soak import soak
from bench.viewers import viewed, viewed_targets
from lakehouse.core.errors import Exit
from lakehouse.products.registry import load_settings
from lakehouse.services.folder import free_ports
from lakehouse.services.jars import default_cache, kafka_jars
from lakehouse.services.java import find_java
from lakehouse.services.kafka import EmbeddedKafka
from lakehouse.settings.settings import Settings

NARRATION = Console(stderr=True)


def say(text: str) -> None:
    """Narration, on stderr."""
    NARRATION.print(text, markup=False, highlight=False)


app = typer.Typer(add_completion=False)


@contextmanager
def broker() -> Iterator[tuple[Path, Settings, dict[str, str]]]:
    """A broker of its own in a folder that goes: the folder, settings and environment for it."""
    cache = default_cache()
    java = find_java(cache)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o711)  # the Postgres of root runs as another user, who passes through
    try:
        jars = kafka_jars(cache, java, say)
        with EmbeddedKafka.start(folder / "broker", java=java, jars=jars, say=say) as kafka:
            environment = {
                "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "LAKEHOUSE_LOGGING_LEVEL": "warning",
            }
            yield folder, load_settings(None).with_kafka(kafka.bootstrap_servers), environment
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@app.command("growth")
def grow(
    clients: Annotated[list[int] | None, typer.Option(min=1, help="clients known")] = None,
    write: Annotated[bool, typer.Option(help="write docs/performance.md")] = True,
) -> None:
    """What a batch costs in silver when few clients are known, and when many are."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        found = growth(folder, clients or SIZES, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _tell(GROWTH, growth_section(found), write)


def _tell(title: str, section: str, write: bool) -> None:
    if write:
        PATH.write_text(with_section(PATH.read_text("utf-8"), title, section), "utf-8")
    sys.stdout.write(section)


@app.command("soak")
def left_running(
    rate: Annotated[int, typer.Option(min=1, help="events a second")] = 2_000,
    minutes: Annotated[float, typer.Option(min=2, help="how long")] = 60,
    clients: Annotated[int, typer.Option(min=1, help="how many buy")] = 200_000,
    write: Annotated[bool, typer.Option(help="write docs/performance.md")] = True,
) -> None:
    """What the flows cost when they are left running: freshness, memory and disk by minute."""
    with broker() as (folder, _, environment):
        found, seen = soak(folder / "soak", environment, rate, minutes, clients, say)
    _tell(SOAK, soak_section(found, seen, clients), write)


Events = Annotated[int, typer.Option(min=1, help="records to drain")]
Runs = Annotated[int, typer.Option(min=1, help="runs of each peer")]
Minutes = Annotated[float, typer.Option(min=1, help="of each rate")]
Rates = Annotated[list[int] | None, typer.Option(min=1, help="events a second")]
Write = Annotated[bool, typer.Option(help="write docs/performance.md")]


@app.command("drain")
def drained(
    events: Events = 1_000_000,
    runs: Runs = 3,
    habit: Annotated[list[Habit] | None, typer.Option(help="how records are written")] = None,
    write: Write = True,
) -> None:
    """Drain topics beside the peers. Exit 1 when a target is missed."""
    topics: dict[Habit, tuple[str, int]] = {}
    what, size = "", 0.0
    with broker() as (folder, settings, environment):
        for one in habit or [*Habit]:
            what, records = source(settings, events)
            say(f"sending {events:,} records, {one}: {what}")
            topic = f"sales-{one.name.lower()}"
            count, sent = fill(settings, topic, HABITS[one](records))
            topics[one], size = (topic, count), size or sent
        say(f"draining them, {runs} runs of each")
        found = drain(folder, environment, topics, runs, say)
    _tell(DRAIN, drain_section(what, size, found), write)
    _end(drain_targets(found))


@app.command("freshness")
def fresh(minutes: Minutes = 5, rate: Rates = None, write: Write = True) -> None:
    """Freshness under load. Exit 1 when a target is missed."""
    found = []
    with broker() as (folder, _, environment):
        for number in rate or [1_000, 10_000]:
            say(f"freshness at {number:,} events/s for {minutes:g} minutes")
            topic = {"LAKEHOUSE_SALES_TOPIC": f"sales-{number}"}
            one = freshness(folder / str(number), environment | topic, number, minutes)
            say(f"  p50 {one.p50:.2f} s, p95 {one.p95:.2f} s, {one.peak_mb:,.0f} MB")
            found.append(one)
    _tell(FRESHNESS, fresh_section(found), write)
    _end(fresh_targets(found))


@app.command("activity")
def active(
    minutes: Minutes = 5,
    rate: Rates = None,
    events: Events = 1_000_000,
    write: Write = True,
) -> None:
    """Activity with all of its sinks: freshness in Postgres, and a drain. Exit 1 on a miss."""
    found = []
    with broker() as (folder, _, kafka):
        for number in rate or [1_000, 10_000]:
            say(f"to Postgres at {number:,} events/s for {minutes:g} minutes")
            with database(folder / f"pg-{number}", say) as postgres:
                environment = kafka | postgres | topics_of(str(number)) | crowd(number)
                one = freshness(
                    folder / str(number), environment, number, minutes, watch=IN_POSTGRES
                )
            say(f"  p50 {one.p50:.2f} s, p95 {one.p95:.2f} s, {one.peak_mb:,.0f} MB")
            found.append(one)
        say(f"draining {events:,} events into every sink")
        with database(folder / "pg-drain", say) as postgres:
            filled = drained_into_sinks(
                folder / "drain", kafka | postgres | topics_of("drain"), events
            )
        say(f"  {filled.rate:,.0f} records/s, {filled.run.peak_mb:,.0f} MB")
    _tell(ACTIVITY, activity_section(found, filled), write)
    _end(activity_targets(found, filled))


@app.command("churn")
def scored(
    seconds: Annotated[float, typer.Option(min=10, help="of each rate")] = 60,
    records: Annotated[int, typer.Option(min=1, help="records of the batch")] = 1_000_000,
    beside: Annotated[bool, typer.Option(help="say that other load was there")] = False,
    write: Write = True,
) -> None:
    """Customers scored: alone, together, and out of Kafka. Exit 1 on a miss."""
    with broker() as (folder, _, kafka):
        found = measured(folder, kafka, seconds, records, say)
    _tell(CHURN, churn_report.section(*found, beside=beside), write)
    _end(churn_report.targets(*found))


@app.command("explore")
def waited(
    events: Annotated[int, typer.Option(min=3, help="events in the lake")] = 500_000,
    runs: Runs = 5,
    lake: Annotated[Path | None, typer.Option(help="a lake that is there")] = None,
    minutes: Annotated[float, typer.Option(min=1, help="viewers come and go")] = 10,
    write: Write = True,
) -> None:
    """What an analyst waits for in the explorer, and what the dashboard costs. Exit 1 on a miss."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        if lake is None:
            say(f"making a lake of {events:,} events")
            made(folder / "lake", events)
        found = explored(lake or folder / "lake", runs, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    with broker() as (folder, _, environment):
        [port] = free_ports(1)
        seen = viewed(folder / "viewed", environment, 1_000, minutes, port, say)
    _tell(EXPLORE, explore_section(found, seen), write)
    _end(explore_targets(found) + viewed_targets(seen))


def _end(found: list[Target]) -> None:
    if missed := [words for words, _, holds in found if not holds]:
        say("missed: " + "; ".join(missed))
        raise SystemExit(Exit.FAULT)


if __name__ == "__main__":
    app()
