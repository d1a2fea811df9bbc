"""Fingerprints: what a table's rows say, as one number that each of our commits carries.

A table's fingerprint is the sum of its rows' digests modulo 2^128 and their count: it
does not depend on order, on files or on who wrote them. A commit records what it added
and the new total, so a row that was altered, removed or invented by anything else is
found by adding up the rows again.

Worked example. A table holds rows a and b, and its newest commit says ``total`` =
d(a) + d(b). A batch adds c: its commit says ``added`` = d(c), ``total`` = d(a) + d(b) +
d(c). A crash before the commit leaves the old total and the old rows; after it both
are new. Compaction carries ``total`` on. RESTORE goes back to a commit and to its
total. Only ``erase``, retention and marks take rows out: they subtract these rows'
digests in the same commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from lakehouse.storage.digest import BLOCK, Words, digests

KEY = "fingerprint"
"""Key of a commit's metadata."""
BATCH = "batch_id"
_MODULUS = 2**128
_NONE = -(2**63)
"""Stands for the batch of rows that have none."""


@dataclass(frozen=True)
class Fingerprint:
    """How many rows, and the sum of their digests."""

    rows: int = 0
    sum: int = 0

    def __add__(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(self.rows + other.rows, (self.sum + other.sum) % _MODULUS)

    def __sub__(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(self.rows - other.rows, (self.sum - other.sum) % _MODULUS)

    def note(self) -> list[Any]:
        """As recorded in a commit's metadata."""
        return [self.rows, f"{self.sum:032x}"]

    @classmethod
    def read(cls, note: Sequence[Any]) -> Fingerprint:
        """Back from a commit's metadata."""
        return cls(note[0], int(note[1], 16))


Rows: TypeAlias = pa.Table | Iterable[pa.RecordBatch]
Batches = dict[int | None, Fingerprint]
"""Fingerprints by the number of the batch that landed the rows."""
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def by_batch(rows: Rows) -> Batches:
    """The fingerprints of some rows, by the batch that landed them; None where they have none."""
    return summed(map(_block_by_batch, _blocks(rows)))


def summed(parts: Iterable[Batches]) -> Batches:
    """The sum of several parts' fingerprints, by batch."""
    found: Batches = {}
    for part in parts:
        for batch, fingerprint in part.items():
            found[batch] = found.get(batch, Fingerprint()) + fingerprint
    return found


def total_of(batches: Batches) -> Fingerprint:
    """All batches together."""
    return sum(batches.values(), Fingerprint())


def _blocks(rows: Rows) -> Iterator[pa.RecordBatch]:
    batches = rows.to_batches(max_chunksize=BLOCK) if isinstance(rows, pa.Table) else rows
    for batch in batches:
        for start in range(0, batch.num_rows, BLOCK):
            yield batch.slice(start, BLOCK)


def _block_by_batch(rows: pa.RecordBatch) -> Batches:
    words = digests(rows)
    if BATCH not in rows.schema.names:
        return {None: _summed(words)}
    column = rows.column(BATCH)
    batches = column.fill_null(_NONE).to_numpy()
    if (batches == batches[0]).all():
        return {column[0].as_py(): _summed(words)}
    order = np.argsort(batches, kind="stable")
    batches, words = batches[order], words[order]
    cuts = [0, *(np.flatnonzero(np.diff(batches)) + 1).tolist(), len(batches)]
    return {
        None if batches[start] == _NONE else int(batches[start]): _summed(words[start:end])
        for start, end in pairwise(cuts)
    }


def _summed(words: Words) -> Fingerprint:
    """Digests added up in halves, which cannot overflow 64 bits within a block."""
    low, high = int((words & _LOW).sum()), int((words >> _HALF).sum())
    return Fingerprint(len(words), ((high << 32) + low) % _MODULUS)


@dataclass(frozen=True)
class Total:
    """The fingerprint of all rows, and since which version each commit has said what it added.

    ``rows_before`` were in the table already then: they are as they were found, not as
    they landed, unless they were ``checked`` against what the commits before say.
    """

    fingerprint: Fingerprint = Fingerprint()
    since: int = 0
    rows_before: int = 0
    checked: bool = False

    def note(self) -> dict[str, Any]:
        """As recorded in a commit's metadata."""
        note = {"total": self.fingerprint.note(), "since": [self.since, self.rows_before]}
        return note | ({"checked": True} if self.checked else {})

    @classmethod
    def read(cls, note: Mapping[str, Any]) -> Total:
        """Back from a commit's metadata."""
        since, rows_before = note["since"]
        total = Fingerprint.read(note["total"])
        return cls(total, since, rows_before, note.get("checked", False))


def changed(total: Total, added: Batches, removed: Batches) -> dict[str, Any]:
    """What a commit says that adds and removes rows: the new total, and by how much it changed.

    ``batches`` says what was added less what was removed, by batch; of rows that have
    no batch under the key ``""``.
    """
    changes = dict(added)
    for batch, part in removed.items():
        changes[batch] = changes.get(batch, Fingerprint()) - part
    after = replace(total, fingerprint=total.fingerprint + total_of(changes))
    batches = {
        "" if batch is None else str(batch): part.note()
        for batch, part in changes.items()
        if part != Fingerprint()
    }
    return {**after.note(), "batches": batches}


def batches_of(note: Mapping[str, Any]) -> Batches:
    """What a commit says that it changed, by batch."""
    told: Mapping[str, Any] = note.get("batches") or {}
    return {int(b) if b else None: Fingerprint.read(part) for b, part in told.items()}
