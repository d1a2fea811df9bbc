"""Kafka's records, as the C client has them, become the Arrow rows that decoding takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Sized
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from lakehouse.ingest.headers import HEADERS
from lakehouse.ingest.kafka_time import TIME
from lakehouse.ingest.left_out import LEFT_OUT, columns_of, larger

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


def in_parts(messages: Sequence[Sized], most_bytes: int) -> Iterator[Sequence[Any]]:
    """Messages in their order, by so many bytes of their values; a larger one is a part alone."""
    ends = np.cumsum(np.fromiter(map(len, messages), np.int64, len(messages)))
    start, before = 0, 0
    while start < len(messages):
        after = max(start + 1, int(np.searchsorted(ends, before + most_bytes, "right")))
        yield messages[start:after]
        start, before = after, int(ends[after - 1])


HeadersAgain = Callable[[int, Sequence[int]], Sequence[Any]]
"""The headers of the records at these offsets of a partition, read in another way."""


def as_rows(
    topic: str, partition: int, messages: Sequence[Message], again: HeadersAgain, most: int
) -> pa.RecordBatch:
    """Columns key, value, headers, topic, partition, offset, timestamp of one partition.

    Of a record that is larger than ``most`` bytes the two of
    :mod:`lakehouse.ingest.left_out` in place of its bytes. The C client gives no header
    whose name is not UTF-8: then ``again`` is asked.
    """
    size = len(messages)
    offsets = np.fromiter(map(Message.offset, messages), np.int64, size).tolist()
    keys, values = list(map(Message.key, messages)), list(map(Message.value, messages))
    headers = _headers(messages, lambda: again(partition, offsets))
    too_large = larger(keys, values, headers, most)
    for row in too_large:
        keys[row] = values[row] = headers[row] = None
    arrays = [
        pa.array(keys, pa.binary()),
        pa.array(values, pa.binary()),
        _header_column(headers),
        pa.repeat(pa.scalar(topic), size),
        pa.repeat(pa.scalar(partition, pa.int32()), size),
        pa.array(offsets, pa.int64()),
        _times(messages),
        *columns_of(too_large, size),
    ]
    names = ["key", "value", "headers", "topic", "partition", "offset", "timestamp"]
    names += [field.name for field in LEFT_OUT]
    return pa.RecordBatch.from_arrays(arrays, names)


def _headers(messages: Sequence[Message], again: Callable[[], Sequence[Any]]) -> list[Any]:
    try:
        return list(map(Message.headers, messages))
    except SystemError:  # a name that is not UTF-8, as confluent-kafka 2.16 says it
        return list(again())


def _header_column(found: Sequence[Any]) -> pa.Array:
    if not any(found):
        return pa.nulls(len(found), HEADERS)
    cells = [
        [{"key": h[0], "value": h[1]} for h in headers] if headers else None for headers in found
    ]
    return pa.array(cells, HEADERS)


def _times(messages: Sequence[Message]) -> pa.Array:
    """Milliseconds as Kafka has them, any 64 bits; beyond Arrow's calendar its last moments."""
    told = np.fromiter(map(_TIME, map(Message.timestamp, messages)), np.int64, len(messages))
    micros = np.clip(told, -_MOST_MS, _MOST_MS) * 1000
    return pa.array(micros).cast(TIME)
