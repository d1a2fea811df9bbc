"""How far each flow is: what bronze lacks of its topic, and what follows it lacks of bronze."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from lakehouse.core.errors import LakehouseError, ServiceUnavailable, TableMissing
from lakehouse.core.paths import Lake
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.topic import Topic, TopicReader
from lakehouse.model.flow import BronzeFlow, Flow, ParquetFlow
from lakehouse.model.sink import KafkaSink, PostgresSink
from lakehouse.products.registry import flows
from lakehouse.settings.postgres_client import connect
from lakehouse.settings.sections import KafkaSettings
from lakehouse.settings.settings import Settings
from lakehouse.sinks.kafka_records import last_marker, topic_of
from lakehouse.sinks.parquet_files import taken
from lakehouse.sinks.postgres_tables import held
from lakehouse.storage.follower import NOTHING, Applied
from lakehouse.storage.increments import rows_between
from lakehouse.storage.log import commit_time, commits, notes
from lakehouse.storage.log_health import Log

_SECONDS = 5
"""So long a service is waited for."""
_REST = 15.0
"""Seconds in which one that did not answer is not asked again."""
_OLD = 30.0
"""Seconds after that in which nobody asked: what it was then says nothing of now, so it is."""
ASLEEP = "does not run"
"""Of a service that verbs start when they need it, and none does now."""
Part = tuple[str, Callable[[], Applied | None]]
"""What a flow fills, and what tells how far that is."""


@dataclass(frozen=True)
class Status:
    """How far one table, topic or folder is."""

    flow: str
    into: str
    version: int | None = None
    """Of bronze, that it has applied."""
    time: str | None = None
    """When bronze was at that version."""
    behind: int | None = None
    """Commits of bronze that it lacks; 0 where these added no row."""
    rows_behind: int | None = None
    """Rows that these added; None where bronze's log no longer says, or rows were removed."""
    waiting: int | None = None
    """Of bronze: offsets of its topic that it has not landed, up to the last committed record."""
    partitions: dict[int, int] = field(default_factory=dict)
    """The same by partition of the topic."""
    note: str = ""


def status(settings: Settings) -> list[Status]:
    """Every flow of the lake that has a bronze; what cannot be asked says why."""
    broker = Broker()
    broker.use(settings.kafka)
    try:
        return flow_statuses(settings, broker)
    finally:
        broker.close()


def flow_statuses(
    settings: Settings, broker: Broker, newest: Callable[[str], int | None] | None = None
) -> list[Status]:
    """As :func:`status`, of a broker that is asked again and again over the same connections.

    ``newest`` gives the newest version of a table at a path.
    """
    newest_of = newest or _newest
    wait = {"request_timeout": timedelta(seconds=_SECONDS)}
    settings = settings.changed(kafka=wait)
    lake = Lake(settings.lake.root)
    bronze = {f.product: newest_of(lake.table(f"bronze.{f.product}")) for f in flows()}
    if not any(number is not None for number in bronze.values()):
        raise TableMissing(
            f"lake {lake.root}", "holds no table", "run a flow, or name the lake by --root"
        )
    found: list[Status] = []
    for flow in flows():
        if (version := bronze[flow.product]) is None:
            continue
        parts = _parts(flow, lake, settings, newest_of)
        rows = [_status(flow, lake, version, *part) for part in parts]
        if isinstance(flow, BronzeFlow):
            rows = [_waiting(row, notes(commits(lake.table(row.into), version)), broker)
                    for row in rows]  # fmt: skip
        found += rows
    return found


class Broker:
    """Kafka as it is now; one that did not answer is not asked again for a while."""

    def __init__(self) -> None:
        self._kafka = KafkaSettings()
        self._readers: dict[str, TopicReader] = {}
        self._away: ServiceUnavailable | None = None
        self._until = 0.0

    def use(self, kafka: KafkaSettings) -> None:
        """Ask this broker from here on."""
        wait = {"request_timeout": timedelta(seconds=_SECONDS)}
        kafka = kafka.model_copy(update=wait)
        if kafka != self._kafka:
            self.close()
            self._kafka, self._away = kafka, None

    def topic(self, name: str) -> Topic | None:
        """A topic's id and offsets; None where there is no such topic."""
        _must_be_named("Kafka", self._kafka.bootstrap_servers)
        now = time.monotonic()
        if (away := self._away) is not None and now < self._until + _OLD:
            if now > self._until:
                self._until = now + _REST
                threading.Thread(target=self._try, args=(name,), daemon=True).start()
            raise away
        try:
            return self._read(name)
        except ServiceUnavailable as error:
            self.close()
            self._away, self._until = error, time.monotonic() + _REST
            raise

    def _read(self, name: str) -> Topic | None:
        if name not in self._readers:
            self._readers[name] = TopicReader(self._kafka, name)
        return self._readers[name].read()

    def _try(self, name: str) -> None:
        """Ask one that was away again, while nobody waits for it."""
        try:
            with TopicReader(self._kafka, name) as reader:
                reader.read()
            self._away = None
        except ServiceUnavailable as error:
            self._away = error

    def close(self) -> None:
        """End its connections."""
        readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close()


def waiting(flow: BronzeFlow, settings: Settings, broker: Broker) -> int | None:
    """Offsets of a flow's topic that bronze has not landed; None where that cannot be asked."""
    into = f"bronze.{flow.product}"
    uri = Lake(settings.lake.root).table(into)
    if (version := _newest(uri)) is None:
        return None
    return _waiting(Status(flow.name, into), notes(commits(uri, version)), broker).waiting


def _waiting(row: Status, told: Iterator[dict[str, Any]], broker: Broker) -> Status:
    """The same, with what bronze lacks of its topic."""
    note = next((one["ends"] for one in told if "ends" in one), None)
    if note is None:
        return row
    ends = Ends.read(note)
    try:
        topic = broker.topic(ends.topic)
    except LakehouseError as error:
        return replace(row, note=f"{error.place}: {error.fault}")
    if topic is None or topic.id != ends.topic_id:
        fault = "is not there" if topic is None else "was recreated"
        return replace(row, note=f"topic {ends.topic}: {fault}")
    lacking = {
        number: max(0, after - max(first, ends.next.get(number, 0)))
        for number, (first, after) in topic.ranges.items()
    }
    return replace(row, waiting=sum(lacking.values()), partitions=lacking)


def _newest(uri: str) -> int | None:
    """The newest version of a table; None where there is none."""
    if not Path(uri, "_delta_log").is_dir():
        return None
    return Log.of(uri).newest


def _status(flow: Flow, lake: Lake, newest: int, name: str, ask: Callable[[], Any]) -> Status:
    uri, found = lake.table(f"bronze.{flow.product}"), Status(flow.name, name)
    try:
        applied: Applied | None = ask()
    except (LakehouseError, psycopg.Error) as error:
        told = f"{error.place}: {error.fault}" if isinstance(error, LakehouseError) else str(error)
        return replace(found, note=told)
    if applied is None or applied.version <= NOTHING:
        rows = rows_between(uri, NOTHING, newest)
        return replace(found, behind=newest + 1, rows_behind=rows, note="nothing yet")
    version = applied.version
    rows = rows_between(uri, version, newest)
    return replace(
        found,
        version=version,
        time=_iso(applied.time or commit_time(uri, version)),
        behind=max(0, newest - version) if rows != 0 else 0,
        rows_behind=rows,
    )


def _iso(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def _parts(
    flow: Flow, lake: Lake, settings: Settings, newest: Callable[[str], int | None]
) -> Iterator[Part]:
    """All that a flow fills."""
    if isinstance(flow, BronzeFlow):
        name = f"bronze.{flow.product}"
        uri = lake.table(name)
        yield name, lambda: Applied("", newest(uri) or 0)
    elif isinstance(flow, ParquetFlow):
        yield flow.table, lambda: taken(Path(lake.table(flow.table)))
    elif isinstance(flow, KafkaSink):
        topic = topic_of(flow, settings)
        yield f"topic {topic}", lambda: _marked(flow, topic, settings)
    elif isinstance(flow, PostgresSink):
        for table in flow.into:
            yield flow.place(table), lambda table=table: _held(table, settings)  # type: ignore[misc]  # the loop's
    else:
        for name in flow.tables:
            yield name, lambda name=name: _applied(lake.table(name), newest)  # type: ignore[misc]  # the loop's


def _applied(uri: str, newest: Callable[[str], int | None]) -> Applied | None:
    version = newest(uri)
    if version is None:
        return None
    told = notes(commits(uri, version))
    return Applied.read(next((note["source"] for note in told if "source" in note), None))


def _marked(flow: KafkaSink, topic: str, settings: Settings) -> Applied | None:
    _must_be_named("Kafka", settings.kafka.bootstrap_servers)
    found = last_marker(settings.kafka, topic, flow.name)
    return found.applied if found else None


def _held(table: Any, settings: Settings) -> Applied | None:
    _must_be_named("Postgres", settings.postgres.url)
    wait = {"connect_timeout": timedelta(seconds=_SECONDS)}
    with closing(connect(settings.postgres.model_copy(update=wait))) as connection:
        was = held(connection, table)
    return was.applied if was else None


def _must_be_named(service: str, address: str) -> None:
    if not address:
        raise LakehouseError(service, ASLEEP, "start what uses it, as in: lakehouse up")
