"""What the reader's process does: see :mod:`lakehouse.ingest.reader`."""

from __future__ import annotations

import gc
import os
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any

import msgspec
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from lakehouse.core.memory import bounded
from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.reader import AWAY, EXPIRED, FAULT, REFUSED, Start
from lakehouse.ingest.reader.frames import Frames
from lakehouse.ingest.reader.records import as_rows, by_partition, in_parts
from lakehouse.ingest.reader.slowly import Slowly, headers_by_python

_MIB = 1024 * 1024
_AT_ONCE = 8 * _MIB
"""Bytes of records that are decoded at a time."""
_MOST = 10_000
"""And as many records: what decoding makes of them stays in the processor's cache."""
_FIRST = 4
"""Of a partition nothing is known yet: a few, which may be large."""
_GATHER = 0.03
"""Seconds that records of a live topic are gathered for: a call of the decoder costs a millisecond,
and a batch of the flow takes what came in five of these, or more."""
_FETCHED = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "group.id": "lakehouse",  # asked for, and not used: nothing is committed there
    "isolation.level": "read_committed",
    "fetch.max.bytes": 16 * _MIB,
    "max.partition.fetch.bytes": 8 * _MIB,
    "receive.message.max.bytes": 1024 * _MIB,
    "queued.max.messages.kbytes": 32 * 1024,
    "queued.min.messages": 200_000,
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 100,
    "log_level": 0,
}
_FOR_A_WHILE = 60.0
"""Seconds that a careful reader reads by Python alone."""
_GROWTH = 2 * 1024 * _MIB
"""What a reader may take in memory: a gigabyte unpacked, and its records in Python."""
_EXPIRED = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError._LOG_TRUNCATION,
}
_REFUSED = {
    KafkaError._AUTHENTICATION, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_ID,
}  # fmt: skip


class _Reader:
    def __init__(self, start: Start, commands: SimpleQueue[dict[str, Any]], frames: Frames) -> None:
        self._start, self._commands, self._frames = start, commands, frames
        self._schema = decoded_schema(start.contract)
        self._consumer = Consumer({**start.kafka, **_FETCHED, "error_cb": self._met})
        self._careful_until = time.monotonic() + _FOR_A_WHILE if start.is_careful else None
        self._next: dict[int, int] = {}
        self._slow: dict[int, Slowly] = {}
        """Partitions with a batch at their next offset that the C client does not unpack."""
        self._room = start.ahead
        self._only: list[int] = []
        self._asked = _FIRST

    def run(self) -> None:
        """Read, decode and send for as long as the driver has room; do what it says."""
        while True:
            self._obey()
            if self._frames.turn < 0 or (self._room <= 0 and not self._only):
                self._do(self._commands.get())
                continue
            if self._careful_until is not None and time.monotonic() > self._careful_until:
                self._careful_until = None
                for slow in self._slow.values():
                    slow.end_with_batch()
            for partition in [p for p in self._slow if not self._only or p in self._only]:
                self._unpack(partition)
            self._send(list(self._read()))

    def _obey(self) -> None:
        while not self._commands.empty():
            self._do(self._commands.get())

    def _do(self, command: dict[str, Any]) -> None:
        if "assign" in command:
            self._frames.turn, self._room, self._only = command["turn"], self._start.ahead, []
            self._next = {int(p): offset for p, offset in command["assign"].items()}
            self._end_slow(*self._slow)
            if self._careful_until is not None:
                self._begin_slow(*self._next)
            self._assign()
        elif "only" in command:
            self._only = command["only"]
            self._pause()
        else:
            self._room += command["room"]

    def _assign(self) -> None:
        """Let the client read on with the partitions that Python does not read."""
        self._asked = _FIRST
        self._consumer.resume(self._consumer.assignment())  # what is paused stays so
        here = [self._at(p, o) for p, o in self._next.items() if p not in self._slow]
        self._consumer.assign(here)
        self._pause()

    def _pause(self) -> None:
        assigned = self._consumer.assignment()
        self._consumer.resume(assigned)
        if self._only:
            self._consumer.pause([p for p in assigned if p.partition not in self._only])

    def _at(self, partition: int, offset: int) -> TopicPartition:
        return TopicPartition(
            self._start.topic, partition, OFFSET_BEGINNING if offset < 0 else offset
        )

    def _read(self) -> Iterator[Message]:
        """Records, at most so many as :data:`_AT_ONCE` has room for if they are like the last."""
        first = self._consumer.poll(0.0 if self._slow else 0.1)
        if first is None:
            return
        yield first
        yield from self._consumer.consume(self._asked - 1, _GATHER) if self._asked > 1 else ()

    def _send(self, messages: Sequence[Message]) -> None:
        errors = [(m, error) for m in messages if (error := m.error()) is not None]
        records = [m for m in messages if m.error() is None] if errors else messages
        if records:
            sizes = list(map(len, records))
            is_large = sum(sizes) > _AT_ONCE  # larger than those that they were asked for by
            sent = sum(
                self._rows(partition, part)
                for partition, found in by_partition(records).items()
                for part in (in_parts(found, _AT_ONCE) if is_large else [found])
            )
            largest = max(*sizes, sent // len(records), 1)
            self._asked = min(_MOST, 4 * self._asked, max(1, _AT_ONCE // largest))
        for message, error in errors:
            partition = int(message.partition() or 0)
            if error.code() == KafkaError._PARTITION_EOF:
                self._sent(partition, int(message.offset() or 0), 0, b"")
            elif error.code() != KafkaError._BAD_COMPRESSION:
                self._tell(error, partition)
            elif partition not in self._slow:
                self._begin_slow(partition)
                self._assign()

    def _begin_slow(self, *partitions: int) -> None:
        """Let Python read on with partitions that the C client cannot read now."""
        try:
            for partition in partitions:
                slow = Slowly(self._start, partition, self._next[partition])
                self._slow[partition] = slow
                if self._careful_until is None:
                    slow.end_with_batch()
        except OSError as error:
            self._frames.fault(AWAY, str(error))

    def _unpack(self, partition: int) -> None:
        """Send some more of what Python reads; when that is over the C client goes on."""
        slow = self._slow[partition]
        try:
            found = slow.some()
        except LookupError as error:
            return self._frames.fault(EXPIRED, str(error))
        except OSError as error:
            return self._frames.fault(AWAY, str(error))
        for part in in_parts(found, _AT_ONCE):
            self._rows(partition, part)
        if slow.after > self._next[partition]:
            self._sent(partition, slow.after, 0, b"")
        if slow.is_over:
            self._end_slow(partition)
            self._assign()
        return None

    def _end_slow(self, *partitions: int) -> None:
        for partition in partitions:
            self._slow.pop(partition).close()

    def _rows(self, partition: int, found: Sequence[Message]) -> int:
        """Decode and send records of a partition; gives their size."""
        start = self._start
        rows = as_rows(start.topic, partition, found, self._headers_again, start.largest)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as stream:
            for part in decode_batch(rows, start.contract, start.rules):
                stream.write_batch(part)
        payload = sink.getvalue()
        size = max(int(rows.nbytes), int(payload.size))
        self._sent(partition, rows["offset"][-1].as_py() + 1, size, payload)
        return size

    def _headers_again(self, partition: int, offsets: Sequence[int]) -> Sequence[Any]:
        settings = pickle.loads(self._start.settings)  # noqa: S301  # from the driver
        return headers_by_python(settings, self._start.topic, partition, offsets)

    def _sent(self, partition: int, after: int, size: int, payload: Any) -> None:
        self._next[partition] = max(after, self._next[partition])
        self._room -= size
        self._frames.rows(partition, after, size, payload)

    def _met(self, error: KafkaError) -> None:
        self._tell(error, FAULT)

    def _tell(self, error: KafkaError, partition: int) -> None:
        code = error.code()
        kind = EXPIRED if code in _EXPIRED else REFUSED if code in _REFUSED else AWAY
        self._frames.fault(kind, error.str(), partition)


def main() -> None:
    """Read until the driver's end of the pipe closes."""
    source, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=_MIB)
    os.dup2(2, 1)  # what a library prints does not get among the frames
    start = pickle.load(source)  # noqa: S301  # from the driver that started us
    commands: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def listen() -> None:
        for line in source:
            commands.put(msgspec.json.decode(line))
        os._exit(0)  # the driver is gone

    Thread(target=listen, name="commands", daemon=True).start()
    gc.freeze()
    try:
        with bounded(_GROWTH):
            frames = Frames(out)
            Thread(target=frames.say_busy, name="busy", daemon=True).start()
            _Reader(start, commands, frames).run()
    except BrokenPipeError:
        os._exit(0)
    except (MemoryError, SystemError) as error:
        if isinstance(error, SystemError) and not isinstance(error.__cause__, MemoryError):
            raise
        os._exit(1)  # the driver starts a careful one
