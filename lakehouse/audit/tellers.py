"""Processes beside the audit that read Kafka's records, decode and hash them.

The witness is plain Python, which keeps one core busy; each of these takes its share of the
offsets. One is given, by its standard input, how to read and what to decode, then ranges; it
answers each with the rows of :class:`lakehouse.audit.told.Told`, or the error that it met.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any, Self

import pyarrow as pa

from lakehouse.audit.told import Told, deep
from lakehouse.audit.topic import Gap, Records
from lakehouse.core.arrow_alone import without_pandas
from lakehouse.core.errors import LakehouseError
from lakehouse.core.processes import own_environment, python, started
from lakehouse.model.witness import Witness
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import connect

MANY = 50_000
"""Fewer records are told in less time than these processes take to start."""
COUNT = min(4, os.cpu_count() or 1)
_SELDOM = 100_000
"""Objects after which Python looks for cycles: a poll's records are no cycles, and a fifth of the
time went into looking through them."""
_AHEAD = 4
"""Parts that are told before somebody asks for them."""


class Tellers:
    """As many processes as pay; none where there is one core.

    Nor where a product's own witness cannot be handed on: a lambda is nobody else's.
    """

    def __init__(self, settings: Settings, witness: Witness, records: Records) -> None:
        given = _handed(settings, witness, records) if COUNT > 1 else b""
        self._all = [_started(given) for _ in range(COUNT if given else 0)]
        self._thread = ThreadPoolExecutor(1, "tellers")

    def __bool__(self) -> bool:
        return bool(self._all)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.kill()
            process.wait()
        self._thread.shutdown(cancel_futures=True)

    def ahead(self, parts: Iterable[list[Gap]]) -> Ahead:
        """What the records of each part say, told from now on: some parts ahead of who reads."""
        return Ahead(parts, lambda gaps: self._thread.submit(self.take, gaps))

    def take(self, gaps: Sequence[Gap]) -> pa.Table:
        """What the records in these ranges say; each process tells a share of every range."""
        for number, process in enumerate(self._all):
            share = [_share(gap, number, len(self._all)) for gap in gaps]
            with suppress(BrokenPipeError):  # it has ended: its answer says so
                pickle.dump([gap for gap in share if len(gap)], _pipe(process.stdin))
                _pipe(process.stdin).flush()
        return pa.concat_tables([_answer(process) for process in self._all])


class Ahead:
    """Parts of a topic in their order, each with what its records say."""

    def __init__(
        self, parts: Iterable[list[Gap]], begin: Callable[[list[Gap]], Future[pa.Table]]
    ) -> None:
        self._parts, self._begin = iter(parts), begin
        self._begun: deque[tuple[list[Gap], Future[pa.Table]]] = deque()
        self._fill()

    def __iter__(self) -> Iterator[tuple[list[Gap], pa.Table]]:
        while self._begun:
            gaps, told = self._begun.popleft()
            table = told.result()
            self._fill()
            yield gaps, table

    def _fill(self) -> None:
        for gaps in islice(self._parts, _AHEAD - len(self._begun)):
            self._begun.append((gaps, self._begin(gaps)))


def _share(gap: Gap, number: int, count: int) -> Gap:
    first, after = (gap.first + len(gap) * n // count for n in (number, number + 1))
    return Gap(gap.partition, first, after)


def _handed(*given: object) -> bytes:
    """What a process is given; nothing where it cannot be."""
    try:
        return pickle.dumps(given)
    except (pickle.PicklingError, AttributeError, TypeError):
        return b""


def _started(given: bytes) -> subprocess.Popen[bytes]:
    process = started(
        python("-m", "lakehouse.audit.tellers"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=own_environment(),
    )  # fmt: skip
    with suppress(BrokenPipeError):
        _pipe(process.stdin).write(given)
        _pipe(process.stdin).flush()
    return process


def _answer(process: subprocess.Popen[bytes]) -> pa.Table:
    try:
        answer = pickle.load(_pipe(process.stdout))  # noqa: S301  # our own process wrote it
    except (EOFError, pickle.UnpicklingError):
        raise LakehouseError(
            "the audit", f"a process of it ended with {process.wait()}",
            "look above for what it printed, and at the machine's memory; then run it again",
        ) from None  # fmt: skip
    if isinstance(answer, LakehouseError):
        raise answer
    return answer


def _pipe(end: Any) -> Any:
    if end is None:
        raise AssertionError("both ends are pipes")
    return end


def main() -> None:
    """One of the processes; it ends with the audit, which holds the other end of its input."""
    without_pandas()
    gc.set_threshold(_SELDOM)
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    settings, witness, records = pickle.load(asked)  # noqa: S301  # our own process wrote it
    with connect(settings) as connection, deep(), suppress(EOFError, BrokenPipeError):
        told = Told(connection, witness)
        while True:
            gaps = pickle.load(asked)  # noqa: S301  # as above
            try:
                answer: pa.Table | LakehouseError = told.hashes(records(gaps))
            except LakehouseError as error:
                answer = error
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    main()
