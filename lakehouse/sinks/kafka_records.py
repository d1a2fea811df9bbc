"""What an enriched topic holds, and what a record of it is: shared by its writer and the audit.

A record's header ``lakehouse`` is ``<bronze's table id>/<version>``. Beside the topic lies a
compacted one, ``<topic>.applied``: each Kafka transaction writes into it which version of bronze
the topic has from there on, and the topic's id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from lakehouse.core.sql import identifier, text
from lakehouse.ingest.schemas import bronze_schema
from lakehouse.model.sink import KafkaSink
from lakehouse.settings.kafka_client import reader_options, unreachable
from lakehouse.settings.sections import KafkaSettings
from lakehouse.settings.settings import Settings
from lakehouse.storage.follower import Applied

HEADER = "lakehouse"
ADDRESS = ("topic", "partition", "offset")
_AT_ONCE = 10_000
_NO_LEADER = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
_TAIL = 100
"""Offsets from the end in which the last marker is looked for first."""
HELD = pa.schema(
    [
        ("header", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("value", pa.string()),
    ]
)
"""Records as they are read: the address is theirs in the enriched topic."""


def topic_of(sink: KafkaSink, settings: Settings) -> str:
    """The topic that a sink fills, as settings have it."""
    section = settings.product(sink.product)
    return str(getattr(section, sink.setting)) if sink.setting else sink.topic


def marker_topic(topic: str) -> str:
    """The topic of its markers."""
    return f"{topic[: 249 - len('.applied')]}.applied"


def event_of(sink: KafkaSink) -> str:
    """SQL over ``rows``: the value up to the declared columns, as JSON text without its end."""
    fields = [*sink.contract.schema.names, "extra"]
    kinds = {f.name: f.type for f in bronze_schema(sink.contract)}
    pairs = {name: _json(identifier(name), kinds[name]) for name in fields}
    pairs["processing_time"] = _json("ingest_time", kinds["ingest_time"])
    pairs |= {name: _json(identifier(name), kinds[name]) for name in ADDRESS}
    parts = [f"{text(_name(name, is_first=not n))}, {pairs[name]}" for n, name in enumerate(pairs)]
    return f"concat({', '.join(parts)})"


def _name(name: str, *, is_first: bool = False) -> str:
    """What stands before a field's value."""
    return f"{'{' if is_first else ','}{json.dumps(name)}:"


def _json(sql: str, kind: pa.DataType) -> str:
    """A value as JSON text; a decimal by its digits, which DuckDB's JSON would round."""
    if pa.types.is_decimal(kind):
        value = f"CAST({sql} AS VARCHAR)"
    elif pa.types.is_timestamp(kind):
        value = f"strftime({sql}, '\"%Y-%m-%dT%H:%M:%S.%fZ\"')"
    else:
        value = f"CAST(to_json({sql}) AS VARCHAR)"
    return f"coalesce({value}, 'null')"


def columns_of(sink: KafkaSink, kinds: Mapping[str, str]) -> str:
    """SQL: the declared columns as JSON text that follows the event; ``kinds`` are DuckDB's."""
    parts = ["''"]
    for name in sink.columns:
        like = pa.string()
        if kinds[name].startswith("DECIMAL"):
            like = pa.decimal128(38, 0)
        elif kinds[name].startswith("TIMESTAMP"):
            like = pa.timestamp("us")
        parts += [text(_name(name)), _json(identifier(name), like)]
    return f"concat({', '.join(parts)}, '}}')"


@dataclass(frozen=True)
class Marker:
    """That the topic of an id has a version of bronze; an earlier release wrote no id."""

    applied: Applied
    topic_id: str = ""

    def value(self) -> bytes:
        """As a record's value."""
        return msgspec.json.encode({**asdict(self.applied), "topic": self.topic_id})

    @classmethod
    def read(cls, value: bytes | None) -> Marker | None:
        """Back from a record's value; None of a stranger's."""
        with suppress(msgspec.MsgspecError):
            applied = msgspec.json.decode(value or b"", type=Applied)
            return cls(applied, msgspec.json.decode(value or b"", type=_OfTopic).topic)
        return None


class _OfTopic(msgspec.Struct):
    topic: str = ""


def last_marker(kafka: KafkaSettings, topic: str, key: str) -> Marker | None:
    """The version of bronze that the topic has, by its markers; None where there is none.

    ServiceAway where the broker does not answer.
    """
    name = marker_topic(topic)
    for tail in (_TAIL, None):
        found = None
        for batch in messages(kafka, name, tail):
            for one in batch:
                if one.key() == key.encode():
                    found = Marker.read(one.value()) or found
        if found:
            return found
    return None


def held(kafka: KafkaSettings, topic: str) -> Iterator[pa.Table]:
    """Every committed record of an enriched topic, some at a time; see HELD."""
    for batch in messages(kafka, topic):
        yield pa.table(
            [
                [_at(one.headers()) for one in batch],
                [one.partition() for one in batch],
                [one.offset() for one in batch],
                [_text(one.value()) for one in batch],
            ],
            schema=HELD,
        )


def expired(kafka: KafkaSettings, topic: str) -> dict[int, bool]:
    """Partitions whose first records the broker has removed, and whether they have any left."""
    with closing(_consumer(kafka)) as consumer:
        return {n: high > low for n, low, high in _partitions(consumer, kafka, topic) if low}


def gone_until(gone: Mapping[int, bool], applied: Applied) -> str:
    """SQL over ``sent``: up to which processing time the topic may have lost records.

    ``applied`` is what its last marker says: of a partition with nothing left that alone tells.
    """
    if all(gone.values()) or applied.time is None:
        oldest = "SELECT min(processing_time) AS oldest FROM sent GROUP BY part"
        return f"(SELECT max(oldest) FROM ({oldest}))"
    return f"make_timestamptz({1000 * applied.time})"


def messages(kafka: KafkaSettings, topic: str, tail: int | None = None) -> Iterator[list[Any]]:
    """Committed records up to the topic's end, some at a time; the ``tail`` only where given.

    Nothing where there is no such topic. ServiceAway where the broker stops answering.
    """
    with closing(_consumer(kafka)) as consumer:
        found = _partitions(consumer, kafka, topic)
        left = {number for number, low, high in found if high > low}
        begin = {n: low if tail is None else max(low, high - tail) for n, low, high in found}
        consumer.assign([TopicPartition(topic, n, begin[n]) for n in left])
        heard, patience = time.monotonic(), kafka.request_timeout.total_seconds()
        while left:
            got = consumer.consume(_AT_ONCE, 0.5)
            if got:
                heard = time.monotonic()
            elif time.monotonic() - heard > patience:
                raise unreachable(kafka, "it stopped sending")
            yield list(_good(got, left, kafka))


def _good(got: Iterable[Any], left: set[int], kafka: KafkaSettings) -> Iterator[Any]:
    """The records among what came; a partition whose end came is left no more."""
    for one in got:
        error = one.error()
        if error is None:
            yield one
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard(one.partition())
        else:
            raise unreachable(kafka, error.str())


def _consumer(kafka: KafkaSettings) -> Consumer:
    return Consumer(
        {
            **reader_options(kafka),
            "group.id": "lakehouse-sinks",  # never joined: partitions are assigned
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,  # errors are reported by us
        }
    )


def _partitions(consumer: Consumer, kafka: KafkaSettings, topic: str) -> list[tuple[int, int, int]]:
    """Of each partition its number, its first offset and its end.

    Of a topic that was just made, or whose broker has just come back, a partition may have no
    leader yet: it is asked again.
    """
    wait = kafka.request_timeout.total_seconds()
    patience = time.monotonic() + wait
    while True:
        try:
            told = consumer.list_topics(topic, timeout=wait).topics[topic]
            places = [TopicPartition(topic, number) for number in sorted(told.partitions)]
            ends = [consumer.get_watermark_offsets(place, timeout=wait) for place in places]
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > patience:
                raise unreachable(kafka, error.args[0].str()) from None
            time.sleep(0.1)
        else:
            return [(place.partition, *end) for place, end in zip(places, ends, strict=True)]


def _at(headers: list[tuple[str, bytes]] | None) -> str:
    return next((_text(value) or "" for name, value in headers or () if name == HEADER), "")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
