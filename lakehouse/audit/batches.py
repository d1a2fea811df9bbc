"""Which batches of a table are not what its commits say that they added."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.audit.topic import SAMPLE
from lakehouse.storage.fingerprint import (
    KEY,
    Batches,
    Fingerprint,
    Total,
    batches_of,
    total_of,
)
from lakehouse.storage.log import commits, notes

_ZERO = Fingerprint()


def told_total(uri: str, version: int) -> Total | None:
    """What the newest commit that says so says that all rows come to."""
    note = next((note[KEY] for note in notes(commits(uri, version)) if KEY in note), None)
    return None if note is None else Total.read(note)


@dataclass(frozen=True)
class Wrong:
    """Batches that differ, and whether those do that the log no longer tells apart."""

    batches: tuple[int | None, ...]
    known: frozenset[int | None]
    others: bool


def wrong_batches(uri: str, version: int, total: Total, found: Batches) -> Wrong:
    """Which batches differ, and whether those do that the log tells nothing of any more."""
    expected, known = _expected(uri, version)
    differ = [b for b in sorted(known, key=str) if found.get(b, _ZERO) != expected[b]]
    rest = total.fingerprint - total_of({b: expected[b] for b in known})
    others = total_of({b: part for b, part in found.items() if b not in known}) != rest
    return Wrong(tuple(differ), frozenset(known), others)


def _expected(uri: str, version: int) -> tuple[Batches, set[int | None]]:
    """What the log's commits changed by batch, and which batches it has from their landing on."""
    expected: Batches = {}
    known = set()
    for note in notes(commits(uri, version)):
        for batch, part in batches_of(note.get(KEY) or {}).items():
            expected[batch] = expected.get(batch, _ZERO) + part
            if part.rows > 0:
                known.add(batch)
    return expected, known


def altered(uri: str, version: int, found: Batches) -> str:
    """Batches that lack no row and have another fingerprint; one that lacks rows is not judged."""
    expected, known = _expected(uri, version)
    wrong = [
        b for b in sorted(known & {*found}, key=str)
        if found[b].rows >= expected[b].rows and found[b] != expected[b]
    ]  # fmt: skip
    return ", ".join(f"batch {batch}" for batch in wrong[:SAMPLE])


def is_checked(uri: str, version: int, found: Batches) -> bool:
    """Whether the log tells of all these batches, from their landing on, as they are."""
    total, (expected, known) = told_total(uri, version), _expected(uri, version)
    began = total is not None and (total.checked or not total.rows_before)
    return began and all(b in known and part == expected[b] for b, part in found.items())
