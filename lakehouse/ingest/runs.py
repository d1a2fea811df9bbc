"""Runs of event ids: ordered by hash, in memory or in a file that is mapped; never changed.

A file holds the first words of all keys, then the second ones, then the times. It has
room for as many keys as it might have got; what its name, length and checks are stands
in the store that names it.
"""

from __future__ import annotations

import math
import mmap
import os
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from lakehouse.core.files import sync
from lakehouse.core.within import Within
from lakehouse.ingest.seen import Keys
from lakehouse.ingest.sieve import Sieve
from lakehouse.ingest.slots import Slots, counted

SUFFIX = ".run"
_WORD = 8
_BLOCK = 200_000
"""Keys that are merged at once: 5 MB, and as much again while they are ordered. A column of them
is below 2 MB, from which on memory is mapped anew each time: a fifth of a merge went there."""
_READ = 1 << 22


class RunDamaged(Exception):
    """A file is not what the store says of it."""


@dataclass(frozen=True, eq=False)
class Run:
    """Keys, and how many of each slot; in memory, it has neither ``file`` nor ``sieve``."""

    keys: Keys
    slots: Mapping[int, int]
    file: RunFile | None = None
    sieve: Sieve | None = None

    @classmethod
    def of(cls, keys: Keys, slots: Slots) -> Run:
        """A run in memory of keys that are ordered."""
        keys = _without_repeats(keys, slots)
        return cls(keys, counted(slots.of(keys.time)))

    def __len__(self) -> int:
        return len(self.keys)

    def let_go(self) -> None:
        """Take its file's pages out of this process; the kernel keeps what it has room for."""
        if self.file:
            self.file.map.madvise(mmap.MADV_DONTNEED)

    def of_slots(self, held: Collection[int]) -> int:
        """How many of its keys lie in these slots."""
        return sum(count for slot, count in self.slots.items() if slot in held)

    @cached_property
    def span(self) -> tuple[int, int]:
        """Its first and its last slot."""
        return min(self.slots, default=0), max(self.slots, default=-1)


@dataclass(frozen=True)
class RunFile:
    """A run's file: its name, room and keys, and a check of each of its parts."""

    name: str
    room: int
    keys: int
    checks: tuple[int, ...]
    map: mmap.mmap

    def note(self) -> list[Any]:
        """As the store records it."""
        return [self.name, self.room, self.keys, list(self.checks)]


def opened(
    folder: Path, note: Sequence[Any], slots: Mapping[int, int], sieve: Sieve | None = None
) -> Run:
    """The run that a store recorded so; RunDamaged where the file is not that any more.

    With a ``sieve`` it is one that was written just now: it is neither verified nor read.
    """
    name, room, count, checks = note
    try:
        with Within(folder, name).read() as file:
            if os.fstat(file.fileno()).st_size != 3 * _WORD * room:
                raise RunDamaged(f"{name} has another length")
            if sieve is None:
                found = [_check(file.fileno(), n * room * _WORD, count) for n in range(3)]
                if found != checks:
                    raise RunDamaged(f"{name} is not what was written")
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except OSError as error:
        raise RunDamaged(f"{name} cannot be read: {error.strerror}") from None
    keys = Keys(
        np.frombuffer(mapped, np.uint64, count),
        np.frombuffer(mapped, np.uint64, count, room * _WORD),
        np.frombuffer(mapped, np.int64, count, 2 * room * _WORD),
    )
    if sieve is None:
        sieve = Sieve(count)
        sieve.add(keys.high)
    run = Run(keys, slots, RunFile(name, room, count, tuple(checks), mapped), sieve)
    run.let_go()
    return run


def _check(descriptor: int, start: int, count: int) -> int:
    found, end = 0, start + count * _WORD
    for place in range(start, end, _READ):
        found = zlib.crc32(os.pread(descriptor, min(_READ, end - place), place), found)
    return found


class RunWriter:
    """Merges runs into one file, a block at a time; a crash leaves a file that no store names."""

    def __init__(
        self, folder: Path, runs: Sequence[Run], slots: Slots, held: Callable[[], Collection[int]]
    ) -> None:
        self.runs, self._folder, self._slots = [*runs], folder, slots
        self._blocks = _merged([run.keys for run in runs], slots, held)
        self._name = f"{uuid4().hex}{SUFFIX}"
        self._room = sum(map(len, runs))
        self._keys, self._checks, self._counts = 0, [0, 0, 0], Counter[int]()
        self._sieve = Sieve(self._room)
        folder.mkdir(parents=True, exist_ok=True)
        self.part = folder / f".{self._name}.part"
        self._file = self.part.open("xb", buffering=0)
        self._file.truncate(3 * _WORD * self._room)

    def write(self) -> int:
        """Write the next block, on disk when this returns; how many keys it took, 0 at the end."""
        block = next(self._blocks, None)
        if block is None:
            return 0
        taken, keys = block
        for n, column in enumerate((keys.high, keys.low, keys.time)):
            words = column.tobytes()
            _write(self._file.fileno(), words, (n * self._room + self._keys) * _WORD)
            self._checks[n] = zlib.crc32(words, self._checks[n])
        os.fdatasync(self._file.fileno())  # in pieces: no batch waits for all of a long run
        self._keys += len(keys)
        self._counts.update(counted(self._slots.of(keys.time)))
        self._sieve.add(keys.high)
        for run in self.runs:
            run.let_go()
        return taken

    def finish(self) -> Run | None:
        """Give the file its name; its run, mapped, or None where it got no key."""
        self._file.close()
        if not self._keys:
            self.part.unlink()
            return None
        self.part.rename(self._folder / self._name)
        sync(self._folder)
        note = [self._name, self._room, self._keys, self._checks]
        return opened(self._folder, note, dict(self._counts), self._sieve)

    def give_up(self) -> None:
        """Remove what was written."""
        self._file.close()
        self.part.unlink(missing_ok=True)


def _write(descriptor: int, words: bytes, place: int) -> None:
    left = memoryview(words)
    while left:
        done = os.pwrite(descriptor, left, place)
        left, place = left[done:], place + done


def _merged(
    runs: Sequence[Keys], slots: Slots, held: Callable[[], Collection[int]]
) -> Iterator[tuple[int, Keys]]:
    """All keys of the slots held at that moment, in order, in blocks; how many each took."""
    longest = max(runs, key=len)
    step = max(1, math.ceil(_BLOCK * len(longest) / sum(map(len, runs))))
    starts = [0] * len(runs)
    for place in range(step, len(longest) + step, step):
        ends = [len(run) for run in runs]
        if place < len(longest):
            bound = longest.high[place]  # all keys of one hash are in one block
            ends = [int(np.searchsorted(run.high, bound)) for run in runs]
        if ends == starts:  # many keys of one hash
            continue
        spans = [slice(*span) for span in zip(starts, ends, strict=True)]
        together = Keys.together(run.at(span) for run, span in zip(runs, spans, strict=True))
        yield len(together), _without_repeats(_of_slots(together, slots, held()), slots)
        starts = ends


def _of_slots(keys: Keys, slots: Slots, held: Collection[int]) -> Keys:
    """The keys that lie in these slots."""
    found = slots.of(keys.time)
    there = counted(found).keys()
    kept = [slot for slot in there if slot in held]
    return keys if len(kept) == len(there) else keys.where(np.isin(found, kept))


def _without_repeats(keys: Keys, slots: Slots) -> Keys:
    """Of one key's times in one slot only the first and the last.

    Whatever lies within the horizon of one between them lies within that of one of the
    two: a key that comes without end costs no more than others.
    """
    if slots.width > 2 * slots.within:
        return keys
    same = np.flatnonzero(keys.high[1:] == keys.high[:-1])
    if not len(same):
        return keys
    few = np.unique(np.concatenate([same, same + 1]))
    few = few[np.lexsort((keys.time[few], keys.low[few], keys.high[few]))]
    one = keys.at(few)
    slot = slots.of(one.time)
    alike = (one.high[1:] == one.high[:-1]) & (one.low[1:] == one.low[:-1])
    alike &= slot[1:] == slot[:-1]
    between = np.zeros(len(keys), dtype=bool)
    between[few[1:-1][alike[1:] & alike[:-1]]] = True
    return keys.where(~between)
