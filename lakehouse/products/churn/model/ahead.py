"""The records of a batch, read and decoded ahead of their scoring by a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.signals import Stop
from lakehouse.ingest.reader import Start
from lakehouse.ingest.reader.process import ReaderFault, ReaderProcess
from lakehouse.settings.kafka_client import unreachable
from lakehouse.settings.sections import KafkaSettings

_TAKEN = 16 * 2**20
"""Bytes of records, and of what was made of them, that are scored at a time."""
_TIMES = 3
"""They are waited for so many times as long as one answer of the broker."""


class Ahead:
    """Decoded records of some partitions, till a stop; the process starts at once."""

    def __init__(self, kafka: KafkaSettings, start: Start, stop: Stop) -> None:
        self._kafka, self._stop = kafka, stop
        self._ends: dict[int, int] = {}
        self._is_ended = False
        wait = _TIMES * kafka.request_timeout.total_seconds()
        self._process = ReaderProcess(replace(start, ahead=2 * _TAKEN), wait)
        self._process.begin({})  # half a second, in which others ask Kafka where to begin

    def begin(self, first: dict[int, int], ends: dict[int, int]) -> None:
        """Read each partition from its ``first`` offset up to its end."""
        self._ends = ends
        self._process.begin(first)

    def some(self) -> tuple[Sequence[pa.RecordBatch], dict[int, int]] | None:
        """Some more rows, and the offsets that are next; None once it ends.

        ServiceAway where Kafka gives none.
        """
        try:
            taken = self._process.take(self._ends, _TAKEN, self._stops)
        except (ReaderFault, ServiceUnavailable) as fault:
            raise unreachable(self._kafka, getattr(fault, "fault", fault)) from None
        return (taken.rows.combine_chunks().to_batches(), taken.ends) if taken else None

    def _stops(self) -> bool:
        return self._is_ended or self._stop.is_set()

    def end(self) -> None:
        """Give nothing any more, to whichever thread waits for it."""
        self._is_ended = True

    def close(self) -> None:
        """End the process."""
        self._process.close()
