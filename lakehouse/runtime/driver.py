"""Runs flows in one driver: locks, start, wait, clean stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path

import structlog
from duckdb import DuckDBPyConnection
from pyspark.sql import SparkSession

from lakehouse.core.disk import MAKE_ROOM, DiskWatch
from lakehouse.core.ending import end_each
from lakehouse.core.errors import (
    ServiceAway,
    ServiceUnavailable,
    TableMissing,
    UsageError,
)
from lakehouse.core.health import HEALTH
from lakehouse.core.lock import write_locks
from lakehouse.core.memory import give_back
from lakehouse.core.paths import Lake
from lakehouse.core.patience import Patience
from lakehouse.ingest.landing import Landed
from lakehouse.ingest.topic import TopicReader
from lakehouse.model.flow import BronzeFlow, Flow, FollowerFlow
from lakehouse.model.sink import SinkFlow
from lakehouse.products.registry import flows as declared_flows
from lakehouse.products.registry import must_be_whole
from lakehouse.runtime.lineage import lineage
from lakehouse.runtime.pipeline import Landing, follow
from lakehouse.runtime.query import BronzeQuery
from lakehouse.runtime.sinking import Sinking, sinking
from lakehouse.settings.kafka_client import ensure_topic
from lakehouse.settings.settings import Settings
from lakehouse.silver.handed import Handed
from lakehouse.storage.duck import connect
from lakehouse.storage.follower import Follower, Stopping

log = structlog.get_logger("lakehouse")
Progress = Callable[[Landed], None]


def flow(name: str) -> Flow:
    """The declared flow of this name; UsageError lists the known ones."""
    found = {f.name: f for f in declared_flows()}
    if name not in found:
        must_be_whole(name.partition(".")[0])
        raise UsageError(f"flow {name!r}", "is not declared", f"use one of {', '.join(found)}")
    return found[name]


def run(
    flows: Sequence[Flow],
    settings: Settings,
    session: Callable[[], SparkSession],
    *,
    available_now: bool = False,
    stop: threading.Event | None = None,
    on_landed: Progress | None = None,
) -> None:
    """Run flows until ``stop`` is set, or, with ``available_now``, until they are up to date.

    ``session`` is called only when a flow needs Spark. Every table is locked
    before anything is read. A broker that is away is waited for, as [services] patience
    says: then each flow begins again at its table's ends. Sinks go on meanwhile, and last until
    all else has ended.
    """
    give_back()
    stop = stop or threading.Event()
    patience = Patience(settings.services.patience, stop)
    sinks = [f for f in flows if isinstance(f, SinkFlow)]
    with (
        locked(flows, settings),
        lineage(flows, settings),
        sinking(sinks, settings, stop) as beside,
        suppress(Stopping),
    ):
        while True:
            try:
                _attempt(flows, settings, session, available_now, stop, on_landed, patience, beside)
            except ServiceAway as error:
                if patience.again(error):
                    continue
            beside.finish(must=available_now and not stop.is_set())
            return


def locked(flows: Sequence[Flow], settings: Settings) -> AbstractContextManager[None]:
    """The locks of all that these flows write; TableLocked where another process writes it."""
    locks = [t for f in flows for t in f.tables]
    locks += sink_locks([f for f in flows if isinstance(f, SinkFlow)])
    folder, holder = Lake(settings.lake.root).locks, "+".join(f.name for f in flows)
    return write_locks(folder, locks, holder, settings.publish.lock_timeout)


def _attempt(
    flows: Sequence[Flow],
    settings: Settings,
    session: Callable[[], SparkSession],
    available_now: bool,
    stop: threading.Event,
    on_landed: Progress | None,
    patience: Patience,
    beside: Sinking,
) -> None:
    """Run the flows from where their tables stand; raises what stopped them."""
    bronze = [f for f in flows if isinstance(f, BronzeFlow)]
    followers = [f for f in flows if isinstance(f, FollowerFlow)]

    def landed(batch: Landed) -> None:
        patience.progress()
        if on_landed is not None:
            on_landed(batch)

    queries: list[tuple[BronzeQuery, Landing]] = []
    alone: list[Follower] = []
    with connect(settings) as connection, ExitStack() as ended:
        for f in bronze:
            ensure_topic(settings.kafka, settings.product(f.product))
        patience.back()
        if bronze:
            HEALTH.back("Kafka")
        try:
            for f in bronze:
                mine = [follower for follower in followers if follower.product == f.product]
                query, landing = _bronze(f, mine, settings, landed, connection, stop, beside.handed)
                ended.callback(landing.following.wait)
                queries.append((query, landing))
                query.read_ahead()
            products = {f.product for f in bronze}
            for other in followers:
                if other.product not in products:
                    own = connection.cursor()
                    alone.append(follow(other, settings, own, stop, beside.handed))
                    ended.callback(alone[-1].settle)
            for query, _ in queries:
                if not stop.is_set():
                    query.start(session(), available_now=available_now)
            with HEALTH.running(f.name for f in (*bronze, *followers)):
                _wait(queries, alone, settings, available_now, stop, patience, beside)
        finally:
            stops = (partial(_stop, query, landing) for query, landing in queries)
            end_each([*stops, *(publisher.persist for publisher in alone)])
            for name in [query.name for query, _ in queries if query.is_stuck]:
                raise ServiceUnavailable(
                    name,
                    "its batch did not end within [stream] stop_timeout, "
                    f"{settings.stream.stop_timeout.total_seconds():g} s",
                    "start again: it begins where its table ends; or give it more time",
                )


def _stop(query: BronzeQuery, landing: Landing) -> None:
    if query.stop():
        landing.persist()


def has_run(f: Flow, lake: Lake) -> bool:
    """Whether a flow has made a table of its own in this lake."""
    return any(Path(lake.table(table)).is_dir() for table in f.tables)


def sink_locks(sinks: Sequence[SinkFlow]) -> list[str]:
    """The locks of what sinks fill, which lies outside of the lake."""
    return [f"sink.{f.name}" for f in sinks]


def _bronze(
    f: BronzeFlow,
    followers: Sequence[FollowerFlow],
    settings: Settings,
    on_landed: Progress,
    connection: DuckDBPyConnection,
    stop: threading.Event,
    handed: Handed,
) -> tuple[BronzeQuery, Landing]:
    landing = Landing.open(f, followers, settings, connection, stop, handed)
    topic = TopicReader(settings.kafka, settings.product(f.product).topic)

    def landed(batch: Landed) -> None:
        landing.take(batch)
        on_landed(batch)

    return BronzeQuery(landing.bronze, settings, topic, landed), landing


def _wait(
    queries: list[tuple[BronzeQuery, Landing]],
    alone: list[Follower],
    settings: Settings,
    available_now: bool,
    stop: threading.Event,
    patience: Patience,
    beside: Sinking,
) -> None:
    began = time.monotonic()
    poll, disk = settings.stream.poll.total_seconds(), DiskWatch(Path(settings.lake.root))
    while not stop.is_set():
        beside.check()
        for room in disk.short(time.monotonic()):
            log.warning("the disk is short", disk=room.told(), fix=MAKE_ROOM)
        if time.monotonic() - began > patience.limit:
            patience.progress(began + patience.limit)  # it runs, though nothing may come
        running = [query for query, _ in queries if not query.wait(0.0 if alone else 0.2)]
        for query, landing in queries:
            query.between_batches(landing.publish_waiting)
        for publisher in alone:
            try:
                publisher.catch_up()
                publisher.maintain()
            except TableMissing as missing:
                if available_now:
                    raise
                log.info("waiting", reason=missing.fault, table=missing.place)
        if available_now and not running:
            return
        if queries and not running:
            return
        if alone or not queries:
            stop.wait(poll)


def say_stopping() -> None:
    """Log that the stop was received, and what it waits for."""
    log.info("stopping: the batch in hand is finished first")
