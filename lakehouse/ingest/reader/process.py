"""The driver's side of the reader: it starts, feeds and ends it, and takes planned ranges."""

from __future__ import annotations

import fcntl
import pickle
import subprocess
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.processes import own_environment, python, started
from lakehouse.ingest.decode import decoded_schema
from lakehouse.ingest.reader import AWAY, BUSY, FAULT, HEAD, Fault, Start

log = structlog.get_logger("lakehouse")
EARLIEST = -2
"""A position: the first offset that the topic holds, as Spark writes it."""
_PIPE_BYTES = 1024 * 1024
_MOMENT = 0.1
_DEATHS = 5
"""A reader that ends so many times without having sent a row is not started again."""
_FEW = 4_096
"""Rows of a frame below which frames are joined: each step after costs something for each."""


class ReaderFault(Exception):
    """What Kafka no longer gives; whoever knows the topic says why."""


@dataclass(frozen=True)
class Taken:
    """Rows of a planned range, and the next offset of each partition after them."""

    rows: pa.Table
    ends: dict[int, int]


@dataclass(frozen=True)
class _Frame:
    turn: int
    partition: int
    after: int
    size: int
    rows: pa.Table | None = None
    fault: Fault | None = None


class ReaderProcess:
    """Follows a topic's partitions in a process of its own, ahead of what is taken.

    Not for several threads at once. ``patience``: seconds without a frame that a range
    is waited for.
    """

    def __init__(self, start: Start, patience: float) -> None:
        self._start, self._patience = start, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._frames: SimpleQueue[_Frame | None] = SimpleQueue()
        self._held: dict[int, deque[_Frame]] = defaultdict(deque)
        self._at: dict[int, int] = {}
        self._turn = self._deaths = 0
        self._is_hurried = self._is_closed = False
        self._told = "no records come"

    def begin(self, positions: Mapping[int, int]) -> None:
        """Read on from these offsets, unless that is what the reader does already."""
        if self._process is None or any(self._at.get(p) != o for p, o in positions.items()):
            self._at.update(positions)
            self._assign()

    def take(
        self, upto: Mapping[int, int], most_bytes: int, stopping: Callable[[], bool]
    ) -> Taken | None:
        """The rows before ``upto``, or some of them where they are larger than ``most_bytes``.

        None where ``stopping`` says so. ReaderFault where Kafka lacks what comes next: what
        was taken until then is read again. ServiceUnavailable where nothing comes.
        """
        found: list[pa.Table] = []
        size, heard = 0, time.monotonic()
        while lacking := [p for p, end in sorted(upto.items()) if self._at.get(p, EARLIEST) < end]:
            for partition in lacking:
                for frame in self._before(partition, upto[partition], most_bytes - size):
                    size += frame.size
                    found += [frame.rows] if frame.rows is not None else []
                    # the end of a partition may be told after rows that came meanwhile
                    self._at[partition] = max(self._at[partition], frame.after)
            if size >= most_bytes:
                break
            if any(self._at[p] < upto[p] and not self._held[p] for p in lacking):
                if stopping():
                    return None
                if self._receive(lacking):
                    heard = time.monotonic()
                elif time.monotonic() - heard > self._patience:
                    raise self._silent()
        if self._is_hurried:
            self._hurry([])
        ends = {p: self._at[p] for p in upto if self._at[p] >= 0}
        return Taken(_whole(found or [self._schema.empty_table()]), ends)

    @property
    def _schema(self) -> pa.Schema:
        return decoded_schema(self._start.contract)

    def _before(self, partition: int, end: int, most_bytes: int) -> Iterator[_Frame]:
        """Frames of a partition that are held, until its end or so many bytes."""
        held, size = self._held[partition], 0
        while held and size < most_bytes and self._at[partition] < end:
            frame = held.popleft()
            if frame.after > end:
                frame, rest = _cut(frame, end)
                held.appendleft(rest)
            size += frame.size
            self._send({"room": frame.size})
            yield frame

    def _receive(self, lacking: Sequence[int]) -> bool:
        """Hold one more frame; False where nothing was heard for a moment."""
        if not self._is_hurried and self._size() >= self._start.ahead:
            self._hurry(lacking)
        try:
            frame = self._frames.get(timeout=_MOMENT)
        except Empty:
            return False
        if frame is None:
            self._died()
        elif frame.turn == self._turn:
            if frame.fault is not None:
                return self._meet(frame.fault)
            self._deaths = 0
            self._held[frame.partition].append(frame)
            return True
        return False

    def _size(self) -> int:
        return sum(frame.size for held in self._held.values() for frame in held)

    def _hurry(self, partitions: Sequence[int]) -> None:
        self._is_hurried = bool(partitions)
        self._send({"only": list(partitions)})

    def _meet(self, fault: Fault) -> bool:
        """Whether it says that the reader is at work."""
        if fault.kind == BUSY:
            return True
        self._told = fault.text
        if fault.kind != AWAY:
            self._at.clear()
            raise ReaderFault(fault.text)
        return False

    def _died(self) -> None:
        if self._is_closed:
            return
        self._deaths += 1
        code = self._process.wait() if self._process else None
        if self._deaths > _DEATHS:
            raise ServiceUnavailable(
                "the reader of " + self._start.topic,
                f"ended {_DEATHS} times without a record, the last time with {code}",
                "look above for what it printed; [bronze] path = cluster reads without it",
            )
        log.warning("the reader ended and is started again", topic=self._start.topic, code=code)
        self._process = None
        self._start = replace(self._start, is_careful=True)
        time.sleep(min(1.0, 0.1 * (self._deaths - 1)))
        self._assign()

    def _silent(self) -> ServiceUnavailable:
        servers = self._start.kafka["bootstrap.servers"]
        return ServiceUnavailable(
            f"Kafka at {servers}",
            f"topic {self._start.topic}: nothing for {self._patience:.0f} s ({self._told})",
            "start the broker, or mend [kafka] bootstrap_servers and its security settings",
        )

    def _assign(self) -> None:
        """A new turn: what was sent before it counts no more."""
        self._turn += 1
        self._held.clear()
        self._is_hurried = False
        if self._process is None:
            self._process = self._started()
        self._send({"assign": self._at, "turn": self._turn})

    def _send(self, command: Mapping[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(msgspec.json.encode(command) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the end of its frames says so

    def _started(self) -> subprocess.Popen[bytes]:
        process = started(
            python("-m", "lakehouse.ingest.reader"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=own_environment(),
        )
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        try:
            process.stdin.write(pickle.dumps(self._start))
            process.stdin.flush()
        except BrokenPipeError:
            pass
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        listener = threading.Thread(
            target=_listen, args=(process.stdout, self._frames), name="reader", daemon=True
        )
        listener.start()
        return process

    def close(self) -> None:
        """End the process."""
        self._is_closed = True
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def _listen(source: IO[bytes], frames: SimpleQueue[_Frame | None]) -> None:
    """Frames as they come, then None."""
    with source:
        while len(head := source.read(HEAD.size)) == HEAD.size:
            turn, partition, after, size, length = HEAD.unpack(head)
            payload = source.read(length)
            if len(payload) < length:
                break
            if partition == FAULT:
                fault = msgspec.json.decode(payload, type=Fault)
                frames.put(_Frame(turn, partition, after, size, fault=fault))
            else:
                rows = pa.ipc.open_stream(payload).read_all() if length else None
                frames.put(_Frame(turn, partition, after, size, rows))
    frames.put(None)


def _whole(frames: Sequence[pa.Table]) -> pa.Table:
    """The rows of frames as one table; of small ones in one piece."""
    rows = pa.concat_tables(frames)
    return rows.combine_chunks() if rows.num_rows < _FEW * len(frames) else rows


def _cut(frame: _Frame, end: int) -> tuple[_Frame, _Frame]:
    """What lies before an offset, and the rest."""
    rows = frame.rows
    if rows is None:
        return replace(frame, after=end), frame
    is_before = pc.less(rows["offset"], end)
    before, after = rows.filter(is_before), rows.filter(pc.invert(is_before))
    size = frame.size * before.num_rows // max(1, rows.num_rows)
    return (
        replace(frame, after=end, size=size, rows=before),
        replace(frame, size=frame.size - size, rows=after),
    )
