"""Pieces of sessions, in columns: how they are ordered, divided, joined and written as bytes.

A piece is events of one key that nothing comes between: one event, or all of an open session
that lie before the watermark. A place is the 128 bits that a key is stored under.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_FIRST, _LAST, _CLOSES, _COUNTS = 0, 1, 2, 3
"""Columns of the numbers of a piece: time of its first and last event, in microseconds since
1970; 1 where it ends a session; then what it counts."""
_BYTES, _HEAD = 8, 4
"""Of a number of a piece; of the number, before a key's pieces, of their bytes."""
NEVER = np.iinfo(np.int64).max
"""A moment after all others."""


@dataclass(frozen=True)
class Pieces:
    """Pieces of several keys, ordered by key, then by time; of one moment what closes is last."""

    owner: Words
    """The number of each piece's key, ascending."""
    numbers: Words
    """A row a piece."""
    is_old: Flags
    """Whether it was in the store."""

    @classmethod
    def ordered(cls, owner: Words, numbers: Words, is_old: Flags) -> Pieces:
        """Pieces in any order, put in theirs."""
        by = (numbers[:, _LAST], numbers[:, _CLOSES], numbers[:, _FIRST], owner)
        order = np.lexsort(by)
        return cls(owner[order], numbers[order], is_old[order])

    def begins(self, timeout: int) -> Flags:
        """Whether a session begins with each piece; ``timeout`` in microseconds."""
        found = np.ones(len(self.owner), np.bool_)
        first, last = self.numbers[1:, _FIRST], self.numbers[:-1, _LAST]
        closed = self.numbers[:-1, _CLOSES].astype(np.bool_) & (first > last)
        found[1:] = (self.owner[1:] != self.owner[:-1]) | closed | (first - last > timeout)
        return found

    def divided(self, timeout: int) -> Sessions:
        """The sessions that they make."""
        begins = self.begins(timeout)
        at = np.flatnonzero(begins)
        owner, numbers = self.owner[at], _summed(self.numbers, at)
        is_followed = np.zeros(len(owner), np.bool_)
        is_followed[:-1] = owner[1:] == owner[:-1]
        due = numbers[:, _LAST] + np.where(numbers[:, _CLOSES], 0, timeout)
        return Sessions(owner, numbers, is_followed, due, begins)

    def kept(self, which: Flags) -> Pieces:
        """Some of them."""
        return Pieces(self.owner[which], self.numbers[which], self.is_old[which])

    def joined(self, begins: Flags, watermark: int | None) -> Pieces:
        """Those of a session that lie before the watermark as one, but for what closes it.

        Nothing comes between them any more. ``begins`` is as :meth:`begins` gives it.
        """
        if watermark is None:
            return self
        passed = (self.numbers[:, _CLOSES] == 0) & (self.numbers[:, _LAST] < watermark)
        goes_on = np.zeros(len(self.owner), np.bool_)
        goes_on[1:] = passed[1:] & passed[:-1] & ~begins[1:]
        at = np.flatnonzero(~goes_on)
        return Pieces(self.owner[at], _summed(self.numbers, at), self.is_old[at])

    def packed(self, keys: Sequence[str]) -> list[tuple[int, bytes]]:
        """For each key that has any: its number, and it and its pieces as bytes."""
        at = np.flatnonzero(np.diff(self.owner, prepend=-1))
        whole, width = self.numbers.astype("<i8").tobytes(), self.numbers.shape[1] * _BYTES
        cuts = pairwise([*(at * width).tolist(), len(whole)])
        return [
            (n, (end - first).to_bytes(_HEAD, "little") + whole[first:end] + keys[n].encode())
            for n, (first, end) in zip(self.owner[at].tolist(), cuts, strict=True)
        ]


@dataclass(frozen=True)
class Sessions:
    """Sessions, a row each, in the order of their pieces."""

    owner: Words
    numbers: Words
    """As those of a piece: of the first and last event, what it closes with, and all it counts."""
    is_followed: Flags
    """Whether a later session of the key is known."""
    due: Words
    """Once the watermark has passed this, it is final."""
    begins: Flags
    """For each piece, whether a session begins with it."""

    @property
    def start(self) -> Words:
        """Time of the first event, microseconds since 1970."""
        return self.numbers[:, _FIRST]

    @property
    def end(self) -> Words:
        """Time of the last event."""
        return self.numbers[:, _LAST]

    @property
    def closes(self) -> Flags:
        """Whether an event ended it."""
        return self.numbers[:, _CLOSES].astype(np.bool_)

    @property
    def counts(self) -> Words:
        """A column for each number that is counted."""
        return self.numbers[:, _COUNTS:]

    def of_pieces(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """For each piece, the value of its session."""
        found: npt.NDArray[Any] = values[np.cumsum(self.begins) - 1]
        return found

    def kept(self, which: Flags) -> Sessions:
        """Some of them; their pieces with them."""
        begins = self.begins[self.of_pieces(which)]
        return Sessions(
            self.owner[which], self.numbers[which], self.is_followed[which], self.due[which], begins
        )

    def is_open(self, watermark: int | None) -> Flags:
        """Which of them are not final at a watermark."""
        return self.due >= (np.iinfo(np.int64).min if watermark is None else watermark)

    def first_dues(self, keys: int) -> Words:
        """For each of so many keys, when its first session is due; NEVER where it has none."""
        found = np.full(keys, NEVER)
        firsts = np.flatnonzero(np.diff(self.owner, prepend=-1))
        found[self.owner[firsts]] = self.due[firsts]
        return found


def unpacked(owners: Sequence[int], values: Collection[bytes], counts: int) -> tuple[Words, Words]:
    """Owners and numbers of the pieces in stored values, one value for each of ``owners``."""
    width = _COUNTS + counts
    sizes = np.frombuffer(b"".join([value[:_HEAD] for value in values]), "<u4")
    ends = (sizes + _HEAD).tolist()
    parts = [value[_HEAD:end] for value, end in zip(values, ends, strict=True)]
    numbers = np.frombuffer(b"".join(parts), "<i8").reshape(-1, width).astype(np.int64)
    return np.repeat(np.array(owners, np.int64), sizes // (width * _BYTES)), numbers


def key_of(value: bytes) -> str:
    """The key in a stored value."""
    return value[_HEAD + int.from_bytes(value[:_HEAD], "little") :].decode()


def _summed(numbers: Words, at: Words) -> Words:
    """Rows from each of ``at`` to the next as one: first beginning, last end, sums of counts."""
    made = numbers[at]
    if len(at):
        ends = np.append(at[1:], len(numbers)) - 1
        made[:, _LAST:_COUNTS] = numbers[ends, _LAST:_COUNTS]
        made[:, _COUNTS:] = np.add.reduceat(numbers[:, _COUNTS:], at, axis=0)
    return made
