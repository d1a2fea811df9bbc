"""A valid record's bytes, which no table keeps, read from Kafka by their address."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from lakehouse.core.errors import LakehouseError
from lakehouse.explorer.record import address

if TYPE_CHECKING:
    from lakehouse.settings.sections import KafkaSettings

LIMIT = timedelta(seconds=5)
"""After this a broker is not waited for."""
_ASLEEP = (
    "its bytes are in Kafka alone, and no broker of this lake runs now: one does while "
    "`lakehouse up` or a flow runs"
)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


@dataclass(frozen=True)
class Fetched:
    """The bytes, or why they cannot be read."""

    told: str
    raw: Mapping[str, bytes] = field(default_factory=dict)
    """``key``, ``value`` and ``header NAME``, those that are not null."""


def fetched(kafka: KafkaSettings | None, row: Mapping[str, Any]) -> Fetched:
    """What Kafka has at a row's address, or why that is not this record."""
    if not address(row):
        return Fetched("this row has no address in Kafka")
    if kafka is None or not kafka.bootstrap_servers:
        return Fetched(_ASLEEP)
    _quiet()
    asked = kafka.model_copy(update={"request_timeout": LIMIT / 2})
    found: SimpleQueue[Fetched] = SimpleQueue()
    threading.Thread(target=lambda: found.put(_asked(asked, row)), daemon=True).start()
    try:
        return found.get(timeout=LIMIT.total_seconds())
    except Empty:
        return Fetched(f"its bytes are in Kafka alone, which did not answer in {LIMIT.seconds} s")


def _quiet() -> None:
    """The client's own warnings are not printed over a screen: what it says is in the answer."""
    logger = logging.getLogger("kafka")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _asked(kafka: KafkaSettings, row: Mapping[str, Any]) -> Fetched:
    try:
        return _read(kafka, row)
    except LakehouseError as error:
        return Fetched(f"its bytes are in Kafka alone: {error.place} {error.fault}")
    except Exception as error:  # noqa: BLE001  # a broken batch, a codec that is not here: said
        return Fetched(f"its bytes cannot be read from Kafka: {type(error).__name__}: {error}")


def _read(kafka: KafkaSettings, row: Mapping[str, Any]) -> Fetched:
    from lakehouse.audit.topic import Gap, read_topic, records  # noqa: PLC0415  # Kafka's client

    name, partition, offset = str(row["topic"]), int(row["partition"]), int(row["offset"])
    topic = read_topic(kafka, name)
    if topic is None or partition not in topic.ranges:
        return Fetched(f"its bytes are gone: Kafka has no partition {partition} of topic {name}")
    first, after = topic.ranges[partition]
    if offset < first:
        return Fetched(f"its bytes have expired: the partition begins at offset {first:,} now")
    if offset >= after:
        return Fetched(f"its bytes are gone: the partition ends before offset {after:,} now")
    gap = Gap(partition, offset, offset + 1)
    record = next(iter(records(kafka, name)([gap])), None)
    if record is None:
        return Fetched("its bytes are gone: Kafka has no committed record at this offset any more")
    if _is_another(record.time, row.get("kafka_time")):
        return Fetched("its bytes are gone: the topic was recreated, and has another record there")
    headers = {f"header {key}": value for key, value in record.headers}
    raw = {"key": record.key, "value": record.value, **headers}
    kept = {name: data for name, data in raw.items() if data is not None}
    return Fetched("as Kafka has them", kept)


def _is_another(milliseconds: int, kafka_time: object) -> bool:
    """Whether a record has another time than the row says; unknown counts as the same."""
    if not isinstance(kafka_time, datetime):
        return False
    return (kafka_time - _EPOCH) // timedelta(milliseconds=1) != milliseconds
