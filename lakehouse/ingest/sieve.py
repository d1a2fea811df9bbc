"""Tells of most hashes that a run does not have them, without a search in it.

It is made of the run's own hashes, and lies in memory alone: a byte for each of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
_EACH = 8
"""Hashes for each word of 64 bits."""
_AT_ONCE = 16_384
"""Hashes that are added at once: what that takes stays in the processor's cache."""
_HALF, _SIX, _BIT = np.uint64(32), np.uint64(6), np.uint64(1)
_PLACE = np.uint64(63)


class Sieve:
    """Lets through every hash that it was given, and one in thirty of the others.

    The first bits of a hash choose a word, so that ordered hashes walk through the words in
    order; the last ones choose three bits of it.
    """

    def __init__(self, room: int) -> None:
        """For so many hashes at most; one that holds more lets more of the others through."""
        self._words = np.zeros(max(1, room // _EACH), np.uint64)

    def add(self, ordered: Hashes) -> None:
        """Let these through, too."""
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            places = self._places(some)
            firsts = np.flatnonzero(np.diff(places, prepend=-1))
            self._words[places[firsts]] |= np.bitwise_or.reduceat(bits(some), firsts)

    def passing(self, hashes: Hashes, bits: Hashes) -> npt.NDArray[np.int64]:
        """Which of the hashes, whose :func:`bits` these are, it lets through: their places."""
        return np.flatnonzero((self._words.take(self._places(hashes)) & bits) == bits)

    def _places(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        return ((hashes >> _HALF) * np.uint64(len(self._words)) >> _HALF).view(np.int64)


def bits(hashes: Hashes) -> Hashes:
    """The bits of a word that stand for each hash."""
    found = _BIT << (hashes & _PLACE)
    for _ in range(2):
        hashes = hashes >> _SIX
        found |= _BIT << (hashes & _PLACE)
    return found
