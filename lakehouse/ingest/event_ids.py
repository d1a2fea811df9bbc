"""The store of event ids: what bronze holds of some slots of Kafka time, in sorted runs.

The newest keys are in memory, the others in files that are mapped. ``store.json`` names
the files, and says of which version of bronze they are; it carries a code that only this user
can make, so that a stranger's is not believed. It is written last, and seldom: what bronze
gained since is read from bronze. Worked example. The store is of version 50
and names run A. Version 100 is committed, and the store is due:

- Run B is written, synced and named. Crash here: the store is of 50, and B, which it
  does not name, is removed by the next save.
- ``store.json`` names A and B, and says 100. Crash here: nothing is lost.
- What it does not name (runs that were merged) is removed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lakehouse.core import failpoint
from lakehouse.core.errors import NO_ROOM, ServiceUnavailable, disk_full
from lakehouse.core.failpoint import Step
from lakehouse.core.files import remove, write_whole
from lakehouse.core.own import is_mac, mac
from lakehouse.core.within import Within
from lakehouse.ingest.runs import Run, RunDamaged, RunWriter, opened
from lakehouse.ingest.seen import Keys, near
from lakehouse.ingest.sieve import Sieve
from lakehouse.ingest.slots import Slots

_STORE = "store.json"
_FORMAT = 1
SPILL = 524_288
"""Keys in memory that become a run on disk, 24 bytes each."""
_FAN = 4
"""So many runs of about one size become one."""
_LARGE = 50_000
"""Keys of a batch for which most pages of a run are looked at; they are not kept mapped for it."""
_WORK = 4
"""Keys that are merged for each that came: more than it takes to keep up."""


class EventIds:
    """Keys of event_ids and their Kafka times; what it holds, bronze holds."""

    def __init__(self, folder: Path, slots: Slots) -> None:
        self._folder, self._slots = folder, slots
        self.clear()

    def clear(self) -> None:
        """Hold nothing; what is on disk is left until the next :meth:`save`."""
        self.held: set[int] = set()
        """Slots of which all keys that bronze has are here; there may be some of others."""
        self._disk: list[Run] = []
        self._fresh: list[Run] = []
        self._writer: RunWriter | None = None
        self._work, self._is_tidy = 0, False

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    @property
    def _runs(self) -> Sequence[Run]:
        return [*self._disk, *self._fresh]

    def by_slot(self) -> Counter[int]:
        """How many keys each slot has."""
        counts = Counter[int]()
        for run in self._runs:
            counts.update(run.slots)
        return counts

    def near(self, asked: Keys) -> npt.NDArray[np.bool_]:
        """For each key, whether a copy is held whose time lies within the horizon."""
        if not len(asked):
            return np.zeros(0, dtype=bool)
        within = self._slots.within
        times = np.array([asked.time.min() - within, asked.time.max() + within])
        first, last = self._slots.of(times).tolist()
        runs = [r for r in self._runs if r.span[0] <= last and r.span[1] >= first]
        return near(_in_turn(runs, is_large=len(asked) >= _LARGE), asked, within)

    def add(self, keys: Keys) -> None:
        """Take in keys; full memory becomes a run on disk."""
        if not len(keys):
            return
        self._fresh.append(Run.of(keys.at(keys.order), self._slots))
        while len(self._fresh) > 1 and len(self._fresh[-2]) <= 2 * len(self._fresh[-1]):
            both = Keys.together(run.keys for run in self._fresh[-2:])
            self._fresh[-2:] = [Run.of(both, self._slots)]
        if sum(map(len, self._fresh)) >= SPILL:
            with self._faults():
                self._spill()

    def drop(self, slots: set[int]) -> None:
        """Let go of slots: of memory at once, of the disk as runs are merged."""
        self.held -= slots
        kept = (_kept(run, self.held, self._slots) for run in self._fresh)
        self._fresh = [run for run in kept if len(run)]
        self._disk = [run for run in self._disk if run.of_slots(self.held)]
        self._is_tidy = False

    def tidy(self, rows: int | None = None) -> None:
        """Merge runs, a part of the work for each of the rows that came; without them, all."""
        self._work = 0 if rows is None else self._work + _WORK * rows
        with self._faults():
            while (rows is None or self._work > 0) and (taken := self._merge_some()):
                self._work -= taken
        self._work = min(self._work, 0)

    def load(self) -> Mapping[str, Any]:
        """Hold what is on disk; what it was saved with. Empty where there is nothing.

        RunDamaged where it is not what was saved.
        """
        try:
            body, code = json.loads(Within(self._folder, _STORE).data())
            if not is_mac(code, body.encode()):
                raise RunDamaged(f"{_STORE} is not what was written here")
            store = json.loads(body)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RunDamaged(f"{_STORE} cannot be read: {error}") from None
        if store["format"] != _FORMAT:
            raise RunDamaged(f"{_STORE} is of another release")
        runs = ((note, {int(s): n for s, n in slots.items()}) for note, slots in store["runs"])
        self._disk = [opened(self._folder, note, slots) for note, slots in runs]
        self.held = set(store["held"])
        record: Mapping[str, Any] = store["record"]
        return record

    def save(self, record: Mapping[str, Any]) -> None:
        """Put all of it on disk, with what it is of; whole or as it was, whatever is killed."""
        with self._faults():
            if self._fresh:
                self._spill()
            failpoint.reach(Step.IDS_WRITTEN)
            runs = [[run.file.note(), run.slots] for run in self._disk if run.file]
            held = sorted(self.held)
            store = {"format": _FORMAT, "record": record, "held": held, "runs": runs}
            body = json.dumps(store, separators=(",", ":"))
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / _STORE, json.dumps([body, mac(body.encode())]).encode())
            failpoint.reach(Step.IDS_SAVED)
            self._remove_unnamed()
        for run in self._disk:
            run.let_go()

    def _remove_unnamed(self) -> None:
        named = {run.file.name for run in self._disk if run.file} | {_STORE}
        if self._writer:
            named.add(self._writer.part.name)
        for path in self._folder.iterdir():
            if path.name not in named:
                remove(path)

    def _spill(self) -> None:
        """Write memory as a run, and small runs on disk with it; of slots that are held."""
        size, kept, disk = sum(map(len, self._fresh)), 0, self._disk
        busy = self._writer.runs if self._writer else []
        while kept < len(disk) and (run := disk[-1 - kept]) not in busy:
            if len(run) > 2 * size or len(run) + size > SPILL:
                break
            size, kept = size + len(run), kept + 1
        older, small = disk[: len(disk) - kept], disk[len(disk) - kept :]
        writer = RunWriter(self._folder, [*small, *self._fresh], self._slots, lambda: self.held)
        try:
            while writer.write():
                pass
            run_ = writer.finish()
        except OSError:
            writer.give_up()
            raise
        self._disk, self._fresh = [*older, *([run_] if run_ else [])], []
        self._is_tidy = False

    def _merge_some(self) -> int:
        """Write a block of a merged run; how many keys it took, 0 where nothing is to be merged."""
        if self._writer is None:
            due = [] if self._is_tidy else self._due()
            if not due:
                self._is_tidy = True
                return 0
            self._writer = RunWriter(self._folder, due, self._slots, lambda: self.held)
        try:
            if taken := self._writer.write():
                return taken
            merged = self._writer.finish()
        except OSError:
            self._writer.give_up()
            self._writer = None
            raise
        places = [n for n, run in enumerate(self._disk) if run in self._writer.runs]
        place = min(places, default=0)
        rest = [run for run in self._disk if run not in self._writer.runs]
        self._disk = [*rest[:place], *([merged] if merged else []), *rest[place:]]
        self._writer = None
        return 1

    def _due(self) -> Sequence[Run]:
        """Runs to be merged: one of which most is let go, or several of about one size.

        None grows beyond half of what is held, so that what expires goes.
        """
        for run in self._disk:
            if 2 * run.of_slots(self.held) < len(run):
                return [run]
        most = max(_FAN * SPILL, sum(map(len, self._disk)) // 2)
        sizes: dict[int, list[Run]] = {}
        for run in self._disk:
            sizes.setdefault(((2 * len(run) // SPILL).bit_length() + 1) // 2, []).append(run)
        for size, runs in sorted(sizes.items()):
            some = runs[:_FAN]
            if size and len(some) == _FAN and sum(map(len, some)) <= most:
                return some
        return []

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_ROOM:
                raise disk_full(str(self._folder)) from None
            raise ServiceUnavailable(
                str(self._folder),
                f"event ids cannot be written: {error.strerror}",
                "mend the folder's rights, then start again: bronze has what they are made of",
            ) from None


def _in_turn(runs: Iterable[Run], *, is_large: bool) -> Iterator[tuple[Keys, Sieve | None]]:
    """Runs as they are searched; of a large batch their pages leave, one run after the other."""
    for run in runs:
        yield run.keys, run.sieve
        if is_large:
            run.let_go()


def _kept(run: Run, held: set[int], slots: Slots) -> Run:
    """The run without the keys of slots that are not held."""
    kept = [slot for slot in run.slots if slot in held]
    if len(kept) == len(run.slots):
        return run
    return Run.of(run.keys.where(np.isin(slots.of(run.keys.time), kept)), slots)
