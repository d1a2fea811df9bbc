"""``python -m bench``: measure, and write docs/performance.md.

python -m bench                                  # everything: about 25 minutes
python -m bench --events 200000 --runs 1 --minutes 0 --no-write
python -m bench growth                           # silver by what it knows: about 10 minutes
python -m bench soak --minutes 60                # left running at 2,000 events/s
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

from bench.drain import drain
from bench.events import fill, source
from bench.freshness import freshness
from bench.growth import SIZES, growth
from bench.report import (
    APART,
    GROWTH,
    PATH,
    SOAK,
    growth_section,
    markdown,
    section_of,
    soak_section,
    targets,
    with_section,
)
from bench.soak import soak
from lakehouse.core.errors import Exit
from lakehouse.products.registry import load_settings
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


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    events: Annotated[int, typer.Option(min=0, help="records to drain; 0: no drain")] = 1_000_000,
    runs: Annotated[int, typer.Option(min=1, help="runs of each peer")] = 3,
    minutes: Annotated[float, typer.Option(min=0, help="of each rate; 0: no freshness")] = 5,
    rate: Annotated[list[int] | None, typer.Option(min=1, help="events a second")] = None,
    write: Annotated[bool, typer.Option(help="write docs/performance.md")] = True,
) -> None:
    """Drain a topic beside the peers, then measure freshness under load.

    Exit 1 when a target is missed.
    """
    if context.invoked_subcommand:
        return
    drained, fresh = [], []
    what, size = "", 0.0
    with broker() as (folder, settings, environment):
        if events:
            what, records = source(settings, events)
            say(f"sending {events:,} records: {what}")
            count, size = fill(settings, records)
            say(f"draining them, {runs} runs of each")
            drained = drain(folder, environment, count, runs, say)
        for number in (rate or [1_000, 10_000]) if minutes else []:
            say(f"freshness at {number:,} events/s for {minutes:g} minutes")
            topic = {"LAKEHOUSE_SALES_TOPIC": f"sales-{number}"}
            found = freshness(folder / str(number), environment | topic, number, minutes)
            say(f"  p50 {found.p50:.2f} s, p95 {found.p95:.2f} s, {found.peak_mb:,.0f} MB")
            fresh.append(found)
    text = markdown(what, size, drained, fresh)
    if write:
        before = PATH.read_text("utf-8")
        for title in APART:
            if kept := section_of(before, title):
                text = with_section(text, title, kept)
        PATH.write_text(text, "utf-8")
        say(f"written: {PATH.relative_to(Path.cwd()) if PATH.is_relative_to(Path.cwd()) else PATH}")
    sys.stdout.write(text)
    missed = [words for words, _, holds in targets(drained, fresh) if not holds]
    raise SystemExit(Exit.FAULT if missed else Exit.OK)


if __name__ == "__main__":
    app()
