"""What the reader's process does: see :mod:`lakehouse.ingest.reader`."""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.reader import AWAY, EXPIRED, FAULT, HEAD, PACKED, REFUSED, Fault, Start
from lakehouse.ingest.reader.records import as_rows, by_partition, headers_by_python, in_parts

_MIB = 1024 * 1024
_AT_ONCE = 8 * _MIB
"""Bytes of records that are decoded at a time."""
_MOST = 10_000
"""And as many records: what decoding makes of them stays in the processor's cache."""
_FIRST = 4
"""Of a partition nothing is known yet: a few, which may be large."""
_GATHER = 0.01
"""Seconds that records of a live topic are gathered for, so that they do not come one by one."""
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
    def __init__(self, start: Start, commands: SimpleQueue[dict[str, Any]], out: BinaryIO) -> None:
        self._start, self._commands, self._out = start, commands, out
        self._schema = decoded_schema(start.contract)
        self._consumer = Consumer({**start.kafka, **_FETCHED, "error_cb": self._met})
        self._turn = -1
        self._room = start.ahead
        self._only: list[int] = []
        self._asked = _FIRST

    def run(self) -> None:
        """Read, decode and send for as long as the driver has room; do what it says."""
        while True:
            self._obey()
            if self._turn < 0 or (self._room <= 0 and not self._only):
                self._do(self._commands.get())
                continue
            self._send(list(self._read()))

    def _obey(self) -> None:
        while not self._commands.empty():
            self._do(self._commands.get())

    def _do(self, command: dict[str, Any]) -> None:
        if "assign" in command:
            self._turn, self._room, self._only = command["turn"], self._start.ahead, []
            self._asked = _FIRST
            self._consumer.resume(self._consumer.assignment())  # what is paused stays so
            self._consumer.assign([self._at(int(p), o) for p, o in command["assign"].items()])
        elif "only" in command:
            self._consumer.resume(self._consumer.assignment())
            self._only = command["only"]
            if self._only:
                assigned = self._consumer.assignment()
                self._consumer.pause([p for p in assigned if p.partition not in self._only])
        else:
            self._room += command["room"]

    def _at(self, partition: int, offset: int) -> TopicPartition:
        return TopicPartition(
            self._start.topic, partition, OFFSET_BEGINNING if offset < 0 else offset
        )

    def _read(self) -> Iterator[Message]:
        """Records, at most so many as :data:`_AT_ONCE` has room for if they are like the last."""
        first = self._consumer.poll(0.1)
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
                self._frame(partition, int(message.offset() or 0), 0, b"")
            else:
                self._tell(error, partition)

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
        self._frame(partition, rows["offset"][-1].as_py() + 1, size, payload)
        return size

    def _headers_again(self, partition: int, offsets: Sequence[int]) -> Sequence[Any]:
        settings = pickle.loads(self._start.settings)  # noqa: S301  # from the driver
        return headers_by_python(settings, self._start.topic, partition, offsets)

    def _frame(self, partition: int, after: int, size: int, payload: Any) -> None:
        self._room -= size
        self._out.write(HEAD.pack(self._turn, partition, after, size, len(payload)))
        self._out.write(payload)
        self._out.flush()

    def _met(self, error: KafkaError) -> None:
        self._tell(error, FAULT)

    def _tell(self, error: KafkaError, partition: int) -> None:
        code = error.code()
        kind = EXPIRED if code in _EXPIRED else REFUSED if code in _REFUSED else AWAY
        kind = PACKED if code == KafkaError._BAD_COMPRESSION else kind
        told = msgspec.json.encode(Fault(kind, error.str(), partition))
        self._out.write(HEAD.pack(self._turn, FAULT, 0, 0, len(told)) + told)
        self._out.flush()


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
        _Reader(start, commands, out).run()
    except BrokenPipeError:
        os._exit(0)
