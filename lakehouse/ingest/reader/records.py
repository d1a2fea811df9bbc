"""Kafka's records, as the C client has them, become the Arrow rows that decoding takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from lakehouse.ingest.headers import HEADERS
from lakehouse.ingest.kafka_time import TIME

_MOST_MS = (2**63 - 1) // 1000
_TIME = itemgetter(1)


def by_partition(messages: Sequence[Message]) -> dict[int, list[Message]]:
    """Messages of each partition, in their order."""
    numbers = np.fromiter(map(Message.partition, messages), np.int32, len(messages))
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(messages)]
    found: dict[int, list[Message]] = defaultdict(list)
    for start, end in pairwise(cuts):
        found[int(numbers[start])] += messages[start:end]
    return found


def as_rows(topic: str, partition: int, messages: Sequence[Message]) -> pa.RecordBatch:
    """Columns key, value, headers, topic, partition, offset, timestamp of one partition."""
    size = len(messages)
    arrays = [
        pa.array(list(map(Message.key, messages)), pa.binary()),
        pa.array(list(map(Message.value, messages)), pa.binary()),
        _headers(messages),
        pa.repeat(pa.scalar(topic), size),
        pa.repeat(pa.scalar(partition, pa.int32()), size),
        pa.array(list(map(Message.offset, messages)), pa.int64()),
        _times(messages),
    ]
    names = ["key", "value", "headers", "topic", "partition", "offset", "timestamp"]
    return pa.RecordBatch.from_arrays(arrays, names)


def _headers(messages: Sequence[Message]) -> pa.Array:
    cells = list(map(_headers_of, messages))
    if not any(cells):
        return pa.nulls(len(messages), HEADERS)
    return pa.array(cells, HEADERS)


def _headers_of(message: Message) -> list[dict[str, Any]] | None:
    headers = message.headers()
    return [{"key": h[0], "value": h[1]} for h in headers] if headers else None


def _times(messages: Sequence[Message]) -> pa.Array:
    """Milliseconds as Kafka has them, any 64 bits; beyond Arrow's calendar its last moments."""
    told = np.fromiter(map(_TIME, map(Message.timestamp, messages)), np.int64, len(messages))
    micros = np.clip(told, -_MOST_MS, _MOST_MS) * 1000
    return pa.array(micros).cast(TIME)
