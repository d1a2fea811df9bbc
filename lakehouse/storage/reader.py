"""A Delta table as this process has read it last: its rows, and what its commits say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.model.window import EXACT, TIMEOUTS
from lakehouse.storage.faults import not_as_left
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.log import commits, notes
from lakehouse.storage.partitions import partition_values
from lakehouse.storage.rows import fitted_rows

STATE = ("flow", "ends", "source", TIMEOUTS, EXACT)
"""Keys of a note that say how far a table is; the others tell of one commit."""


class DeltaReader:
    """One version of a table at a time; ``schema`` is what its rows are given in."""

    def __init__(self, dt: DeltaTable, uri: str, schema: pa.Schema) -> None:
        self.uri, self.schema = uri, schema
        self._read, self._ahead = dt, 0
        self.partition_by = tuple(dt.metadata().partition_columns)  # as it was made

    @property
    def dt(self) -> DeltaTable:
        """The table at :attr:`version`; commits of our own are read when it is asked for."""
        if self._ahead:
            expected, self._ahead = self.version, 0
            self._read.update_incremental()
            if self.version != expected:
                raise not_as_left(self.uri)
        return self._read

    @dt.setter
    def dt(self, table: DeltaTable) -> None:
        self._read, self._ahead = table, 0

    @property
    def version(self) -> int:
        """The version that this process has read or written last."""
        return int(self._read.version()) + self._ahead

    def refresh(self) -> int:
        """Read commits that others made (Spark's); gives the newest version."""
        self._read.update_incremental()
        self._ahead = 0
        return self.version

    def state(self) -> dict[str, Any]:
        """What the newest commit says of how far the table is; a commit of upkeep says it again."""
        newest = next((note for note in self.notes() if note), {})
        return {key: newest[key] for key in STATE if key in newest}

    def last_note(self, key: str) -> Any:
        """What the newest commit that has ``key`` says; None where no commit in the log has it.

        After a RESTORE, what the restored version says.
        """
        return next((note[key] for note in self.notes() if key in note), None)

    def notes(self) -> Iterator[dict[str, Any]]:
        """Notes that hold here, the newest first: see :func:`lakehouse.storage.log.notes`."""
        return notes(self.commits())

    def commits(self) -> Iterator[dict[str, Any]]:
        """Each commit's own description, the newest first, as far as the log goes back."""
        return commits(self.uri, self.version)

    def rows(self) -> pa.Table:
        """The rows of this version."""
        parts = fitted_rows(self.uri, partition_values(self.dt), self.schema)
        return pa.concat_tables([self.schema.empty_table(), *parts])

    def files(self) -> list[str]:
        """Paths of the Parquet files of this version, as they are on disk."""
        return files_of(self.dt)
