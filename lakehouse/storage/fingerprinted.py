"""A table whose commits say what they changed and what all its rows come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.settings.settings import Settings
from lakehouse.storage.committing import Committing
from lakehouse.storage.fingerprint import KEY, Batches, Total, by_batch, changed, total_of
from lakehouse.storage.rows import data_files


class Fingerprinted(Committing):
    """Keeps the fingerprint of all rows, where the table has begun to: its commits carry it on."""

    def __init__(
        self,
        dt: DeltaTable,
        uri: str,
        schema: pa.Schema,
        settings: Settings,
        *,
        fingerprinted: bool = False,
    ) -> None:
        super().__init__(dt, uri, schema, settings)
        self._fingerprints = fingerprinted
        self._has_none = False
        """Whether no commit has a fingerprint: this writer makes none then, and need not look."""

    def state(self) -> dict[str, Any]:
        """As every reader finds it, and the fingerprint of all rows where one is kept."""
        total = self.total()
        return super().state() | ({KEY: total.note()} if total else {})

    def total(self) -> Total | None:
        """The fingerprint of all rows, as the newest commit says it; None where none is kept.

        Of a table of an earlier release it begins with the rows as they are found now.
        """
        if self._has_none:
            return None
        if note := self.last_note(KEY):
            return Total.read(note)
        if not self._fingerprints:
            self._has_none = True
            return None
        files = data_files(self.dt, self.uri)
        found = total_of(by_batch(batch for file in files for batch in file.whole_rows()))
        return Total(found, self.version + 1, found.rows)

    def fingerprinted(
        self, note: Mapping[str, Any], added: Batches, removed: Batches | None = None
    ) -> Mapping[str, Any]:
        """The note of a commit that adds and removes rows of these fingerprints, theirs in it."""
        if (total := self.total()) is None:
            return note
        return {**note, KEY: changed(total, added, removed or {})}
