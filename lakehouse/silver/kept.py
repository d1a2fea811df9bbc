"""The store of one flow: what it has applied, whether it can be believed, and its fresh start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lakehouse.silver.journal import SPACE, Journal
from lakehouse.silver.publishing import Publishing
from lakehouse.silver.state import Load, SilverState, Steps
from lakehouse.silver.store import Store, StoreDamaged
from lakehouse.storage.follower import Applied, has_commit

_WATERMARK = "watermark"
"""Fact of the store: the greatest watermark so far, in microseconds since 1970."""
_APPLIED = "applied"
"""Fact of the store: the commit of bronze up to which it has everything."""


class Kept:
    """The store, the journal in it, and what it says of itself.

    It is ready if it is of these tables and of this bronze, and lacks nothing that a table
    needs; ``applied`` is None otherwise.
    """

    store: Store
    journal: Journal
    watermark: int | None
    applied: Applied | None

    def __init__(
        self,
        folder: Path,
        like: Mapping[str, Any],
        state: SilverState,
        publishing: Publishing,
        bronze_uri: str,
    ) -> None:
        self._folder, self._like = folder, dict(like)
        self._state, self._publishing, self._bronze_uri = state, publishing, bronze_uri
        self.open()

    @property
    def is_ready(self) -> bool:
        """Whether there is a state to go on with."""
        return self.applied is not None

    def open(self) -> None:
        """Open the store, and see how far it can be believed."""
        self.store = Store.open(self._folder, [SPACE, *self._state.spaces], self._like)
        self.journal = self._publishing.journal = Journal(self.store)
        self.watermark = self.applied = None
        try:
            self.watermark = self.store.facts(_WATERMARK)
            said = Applied.read(self.store.facts(_APPLIED))
            is_ours = said is not None and has_commit(self._bronze_uri, said)
            if is_ours and self.journal.begin(self._publishing.versions()):
                self.applied = said
        except (StoreDamaged, LookupError, TypeError, ValueError):
            self.watermark = None  # a bit of a fact, too, may be another one

    def forget(self) -> None:
        """Empty the store."""
        self.applied = None
        self.store.forget()

    def make(self, applied: Applied, product: str, steps: Steps, load: Load) -> None:
        """Make the state of the tables, and of bronze's rows since, up to a commit."""
        self.forget()
        self.open()
        held = self._publishing.versions()
        self.journal.start(held)
        self._state.load(self.store, self._bronze_uri, held)
        self._state.align(self.store, self.journal, held, applied.version, steps, load)
        with self.store.writing():
            self.say(applied, product)
        self.applied = applied

    def say(self, applied: Applied, product: str) -> None:
        """Within a transaction: what the store has, from its end on."""
        self.store.say(_APPLIED, applied.note(f"bronze.{product}"))
        self.store.say(_WATERMARK, self.watermark)
