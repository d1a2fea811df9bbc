"""Records as one run of bytes, looked at all at once: what :mod:`lakehouse.ingest.shapes` needs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_QUOTE, _BACKSLASH, _SPACE, _ASCII, _UNKNOWN = 34, 92, 32, 128, 63
WORD = 8
"""Bytes that are compared at a time."""
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


class Literal:
    """Bytes between two values, gathered all at once and compared eight at a time."""

    def __init__(self, told: bytes) -> None:
        self.told, self.size = told, len(told)
        self.quotes, self.before = told.count(b'"'), told.find(b'"')
        words = -(-self.size // WORD)
        self._width = words * WORD
        self._wanted = np.frombuffer(told.ljust(self._width, b"\0"), "<u8")
        self._mask = np.frombuffer((b"\xff" * self.size).ljust(self._width, b"\0"), "<u8")[-1]

    def at(self, data: Bytes, places: Places) -> Flags:
        """Whether it stands at each of these places; ``data`` goes on by as much behind each."""
        pieces = np.ndarray((len(data) - self._width + 1,), f"V{self._width}", data, strides=(1,))
        got = pieces[places].view("<u8").reshape(len(places), len(self._wanted))
        found: Flags = got[:, -1] & self._mask == self._wanted[-1]
        for word, wanted in enumerate(self._wanted[:-1]):
            found &= got[:, word] == wanted
        return found


class Scratch:
    """Room that is used again: fresh memory would cost as much as the proof."""

    def __init__(self) -> None:
        self._bytes, self._flags = np.empty(0, np.uint8), np.empty(0, bool)

    def of(self, size: int) -> tuple[Bytes, Flags]:
        """So many bytes and as many flags, with anything in them."""
        if len(self._bytes) < size:
            room = size * 5 // 4
            self._bytes, self._flags = np.empty(room, np.uint8), np.empty(room, bool)
        return self._bytes[:size], self._flags[:size]


class Block:
    """Records as one run of bytes: where each lies, where its quotes are, and which are plain.

    ``start``, ``end`` and ``is_plain`` are of each record; ``first`` is the place of its first
    quote in ``quotes``, ``count`` how many it has; ``data`` goes on for ``pad`` bytes behind them.
    """

    def __init__(self, values: pa.Array, scratch: Scratch, pad: int) -> None:
        rows, (_, offsets, held) = len(values), values.buffers()
        ends = np.frombuffer(offsets, np.int32, rows + 1, values.offset * 4).astype(np.int64)
        first, self.size = int(ends[0]), int(ends[-1] - ends[0])
        self.data, self._flags = scratch.of(self.size + pad)
        self.data[self.size :] = 0
        if self.size:
            self.data[: self.size] = np.frombuffer(held, np.uint8, self.size, first)
        ends -= first
        self.start, self.end = ends[:-1], ends[1:]
        self.is_plain = self._plain(values, ends)
        self.quotes = np.flatnonzero(self._same(np.equal, _QUOTE))
        self.first = np.searchsorted(self.quotes, self.start)
        self.count = np.diff(self.first, append=len(self.quotes))

    def _same(self, compare: np.ufunc, byte: int) -> Flags:
        """Which bytes compare so; until it is asked again."""
        flags: Flags = compare(self.data[: self.size], byte, out=self._flags[: self.size])
        return flags

    def _plain(self, values: pa.Array, ends: Places) -> Flags:
        body, found = self.data[: self.size], np.ones(len(values), bool)
        if values.null_count:
            found = values.is_valid().to_numpy(zero_copy_only=False).copy()
        if not self.size:
            return found
        for compare, byte in ((np.less, _SPACE), (np.equal, _BACKSLASH)):
            if (odd := self._same(compare, byte)).any():
                found[np.searchsorted(ends, np.flatnonzero(odd), "right") - 1] = False
        if body.max() >= _ASCII and not _is_utf8(values):
            high = np.flatnonzero(self._same(np.greater_equal, _ASCII))
            for row in np.unique(np.searchsorted(ends, high, "right") - 1).tolist():
                text = body[ends[row] : ends[row + 1]]
                try:
                    text.tobytes().decode()
                except UnicodeDecodeError:
                    found[row], text[:] = False, _UNKNOWN
        return found


def _is_utf8(values: pa.Array) -> bool:
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
