"""What a verb starts when it is not given: Spark, a broker, a database."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lakehouse.core.errors import TableLocked
from lakehouse.core.signals import Stopped
from lakehouse.core.text import say

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lakehouse.runtime.session import Engine
    from lakehouse.settings.settings import Settings


def engine(narrate: Callable[[str], None] = say) -> Engine:
    """Java and Spark's jars on this machine."""
    from lakehouse.runtime.archive import with_archive
    from lakehouse.runtime.session import Engine
    from lakehouse.services.jars import default_cache, spark_jars
    from lakehouse.services.java import find_java

    cache = default_cache()
    java = find_java(cache)
    started = Engine(java.for_spark(cache), spark_jars(cache, java, narrate), java.options)
    return with_archive(started, cache, narrate)


@contextmanager
def broker(settings: Settings) -> Iterator[Settings]:
    """Settings that name a running broker: the given one, or the embedded one, started here."""
    if settings.kafka.bootstrap_servers:
        yield settings
        return
    from lakehouse.services.jars import default_cache, kafka_jars
    from lakehouse.services.java import find_java
    from lakehouse.services.kafka import EmbeddedKafka
    from lakehouse.services.kept import kept

    home = _home(settings)
    if EmbeddedKafka.running(home) is None:
        say("starting this lake's Kafka …")  # on a busy machine it takes half a minute
    cache = default_cache()
    java = find_java(cache)
    jars = kafka_jars(cache, java, say)
    start = partial(EmbeddedKafka.start, home, java=java, jars=jars, say=say)
    with kept("embedded Kafka", start) as kafka:
        yield settings.with_kafka(kafka.bootstrap_servers)


@contextmanager
def kept_broker(settings: Settings) -> Iterator[Settings]:
    """As :func:`broker`, but for who only asks: without data here no embedded one is started.

    So nothing is made in a lake that others made, and nothing of it is asked to be moved.
    """
    from lakehouse.services.home import known_home

    if settings.kafka.bootstrap_servers or known_home(Path(settings.lake.root)):
        with broker(settings) as running:
            yield running
    else:
        yield settings


def _home(settings: Settings) -> Path:
    """The folder of this lake's services, outside of it; who sits at a terminal is asked first."""
    from lakehouse.services.home import InLake, home_of, move_in

    root = Path(settings.lake.root)
    try:
        return home_of(root)
    except InLake as error:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        say(f"{error.place}: {error.fault}")
        if not typer.confirm("Did you make this lake, and shall they be moved?", err=True):
            raise
        return move_in(root)


@contextmanager
def database(settings: Settings) -> Iterator[Settings]:
    """Settings that name a running Postgres: the given one, or the embedded one, started here."""
    if settings.postgres.url:
        yield settings
        return
    from lakehouse.services.kept import kept
    from lakehouse.services.postgres import EmbeddedPostgres

    home = _home(settings)
    if EmbeddedPostgres.running(home) is None:
        say("starting this lake's Postgres …")
    start = partial(EmbeddedPostgres.start, home, say=say)
    with kept("embedded Postgres", start) as postgres:
        yield settings.with_postgres(postgres.url)


@contextmanager
def kept_database(settings: Settings) -> Iterator[Settings]:
    """As :func:`database`, but for who only asks: without data here none is started."""
    from lakehouse.services.home import known_home

    home = known_home(Path(settings.lake.root))
    if settings.postgres.url or (home and (home / "postgres" / "data").exists()):
        with database(settings) as running:
            yield running
    else:
        yield settings


def session_in_background(
    settings: Settings, name: str, stop: threading.Event | None = None
) -> Callable[[], SparkSession]:
    """Begin to start Spark now; the function given waits for it, and for no longer than ``stop``.

    Then it raises Stopped. Where the JVM has ended since, it starts another one.
    """
    from lakehouse.runtime.session import has_ended, session

    found: list[SparkSession] = []
    failed: list[BaseException] = []

    def start() -> None:
        try:
            found.append(session(settings, name, engine()))
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            failed.append(error)

    thread = threading.Thread(target=start, name="spark-start", daemon=True)
    thread.start()

    def wait() -> SparkSession:
        while thread.is_alive():
            thread.join(0.1)
            if stop is not None and stop.is_set():
                raise Stopped
        if failed:
            raise failed[0]
        if has_ended():
            found[:] = [session(settings, name, engine())]
        return found[0]

    return wait


def refuse_services(root: Path) -> None:
    """A root whose broker or database runs is another process's: its files are not removed."""
    from lakehouse.services.home import known_home
    from lakehouse.services.kafka import EmbeddedKafka
    from lakehouse.services.postgres import EmbeddedPostgres

    if (home := known_home(root)) is None:
        return
    postgres = EmbeddedPostgres.running(home)
    for name, pid in (
        ("Kafka", EmbeddedKafka.running(home)), ("Postgres", postgres and postgres.pid),
    ):  # fmt: skip
        if pid:
            raise TableLocked(
                str(root),
                f"its {name}, process {pid}, runs: another command uses this lake",
                f"end that command, or what a kill -9 left: kill {pid}; or give another --root",
            )


def empty_services(root: Path) -> None:
    """Remove what the services of a demo's lake hold: it begins with an empty broker."""
    from lakehouse.services.home import empty

    empty(root)
