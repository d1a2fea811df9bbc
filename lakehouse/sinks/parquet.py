"""Plain Parquet files by date that follow bronze's versions, for readers that know no Delta.

A file is named by the bronze version whose rows it has, is written beside its place,
synced and renamed: a version that is applied again writes the same files again.
How far the files go is in ``_taken.json`` beside them, written last and whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.core.files import sync, write_whole
from lakehouse.core.paths import Lake
from lakehouse.core.sql import identifier, listed
from lakehouse.model.flow import ParquetFlow
from lakehouse.settings.settings import Settings
from lakehouse.sinks.parquet_files import NO_DATE, TAKEN, taken
from lakehouse.storage.duck import query, reads
from lakehouse.storage.follower import NOTHING, Follower
from lakehouse.storage.increments import Increment

_DATE = "date of the row"
"""Column that rows have on their way."""


class ParquetPublisher(Follower):
    """The Parquet files of one product: its one part, since a record tells of all of them.

    A version's files are named by it, so that applying it again writes the same ones. They are
    small or large as bronze's batches were, and stay.
    """

    def __init__(
        self, flow: ParquetFlow, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> None:
        super().__init__(flow.name, flow.product, settings, most_rows=0)
        self.flow, self._connection = flow, connection
        self.folder = Path(Lake(settings.lake.root).table(flow.table))
        self.applied = {flow.table: taken(self.folder)}

    @classmethod
    def open(
        cls, flow: ParquetFlow, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> ParquetPublisher:
        """With its folder, in which nothing is left of a writer that was killed."""
        parquet = cls(flow, settings, connection)
        parquet.folder.mkdir(parents=True, exist_ok=True)
        for part in parquet.folder.glob("*/.*.part"):
            part.unlink()
        return parquet

    def has_rows(self) -> bool:
        """Whether there are files."""
        return any(self.folder.glob(f"{self.flow.folder}=*/*.parquet"))

    def apply(self, step: Increment) -> None:
        """Write the files of a version, then record it."""
        self._write(step)
        self._record(step.version)

    def start_over(self, target: int) -> None:
        """All of bronze under its newest version's name, a part at a time; older files go.

        Run again after a crash it begins again: what the files hold is then unknown.
        """
        self._record(NOTHING)
        kept = {path for step in self.whole(target) for path in self._write(step)}
        for file in self.folder.glob(f"{self.flow.folder}=*/*.parquet"):
            if file not in kept:
                file.unlink()
        for folder in self.folder.glob(f"{self.flow.folder}=*"):
            with suppress(OSError):  # it holds files
                folder.rmdir()
        self._record(target)

    def _write(self, step: Increment) -> list[Path]:
        """A file a date, each complete under its name; which those are."""
        rows = step.rows
        if rows is None and step.files:
            found = reads(step.files, "hive_partitioning = false, union_by_name = true")
            rows = query(self._connection, f"SELECT * FROM {found}")
        if rows is None:
            return []
        name = f"v{step.version}-{step.part}" if step.part else f"v{step.version}"
        dated = f"{self.flow.date} AS {identifier(_DATE)}"
        chosen = query(
            self._connection,
            f"SELECT {listed(self.flow.columns)}, {dated} FROM landing "
            f'WHERE NOT is_duplicate AND ({self.flow.where}) ORDER BY "partition", "offset"',
            landing=rows,
        )
        return [self._write_one(name, date, part) for date, part in _by_date(chosen)]

    def _write_one(self, name: str, date: str, rows: pa.Table) -> Path:
        folder = self.folder / f"{self.flow.folder}={date}"
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        path, out = folder / f"{name}.parquet", pa.BufferOutputStream()
        pq.write_table(rows, out, compression=self.settings.publish.compression)
        write_whole(path, memoryview(out.getvalue()))
        if is_new:
            sync(self.folder)
        failpoint.reach(Step.PARQUET_WRITTEN)
        return path

    def _record(self, version: int) -> None:
        applied = self.at(version)
        write_whole(self.folder / TAKEN, json.dumps(asdict(applied)).encode())
        self.applied[self.flow.table] = applied


def _by_date(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each date, and it as YYYY-MM-DD, or what readers take for a null."""
    for date in pc.unique(rows[_DATE]).to_pylist():
        is_of_it = pc.is_null(rows[_DATE]) if date is None else pc.equal(rows[_DATE], date)
        part = rows.filter(is_of_it).drop_columns([_DATE])
        yield (NO_DATE if date is None else date.isoformat()), part
