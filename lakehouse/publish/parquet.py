"""Plain Parquet files by date that follow bronze's versions, for readers that know no Delta.

A file is named by the bronze version whose rows it has, is written beside its place,
synced and renamed: a version that is taken in again writes the same files again.
How far the files go is in ``_taken.json`` beside them, written last and whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lakehouse.core import failpoint
from lakehouse.core.duck import query
from lakehouse.core.errors import TableDamaged, TableMissing, UsageError
from lakehouse.core.failpoint import Step
from lakehouse.core.flow import ParquetFlow
from lakehouse.core.paths import Lake
from lakehouse.core.settings import Settings
from lakehouse.publish.increments import increments
from lakehouse.publish.log_files import commit_time, is_same_commit, sync_folder

NOTHING = -1
TAKEN = "_taken.json"
DATE = "date"


@dataclass(frozen=True)
class Taken:
    """How far the files go: bronze's table id, version, and that commit's time in ms."""

    bronze: str
    version: int = NOTHING
    time: int | None = None


def taken(folder: Path) -> Taken | None:
    """What the files of a folder say of themselves; None where there are none yet."""
    try:
        return Taken(**json.loads((folder / TAKEN).read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise TableDamaged(
            str(folder / TAKEN), "is not what the writer of the files wrote",
            "remove the folder: the files are made anew from bronze",
        ) from None  # fmt: skip


class ParquetPublisher:
    """The Parquet files of one product, held by this process."""

    def __init__(
        self, flow: ParquetFlow, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.flow, self.settings, self._connection = flow, settings, connection
        lake = Lake(settings.lake.root)
        if not lake.is_local:
            raise UsageError(
                "[lake] root", f"{lake.root} is no local folder", f"run {flow.name} on one"
            )
        self.folder = Path(lake.table(flow.table))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._bronze_uri = lake.table(f"bronze.{flow.product}")
        for part in self.folder.glob("*/.*.part"):
            part.unlink()  # of a writer that was killed
        self._taken: Taken | None = taken(self.folder)

    @property
    def version(self) -> int:
        """The bronze version that the files hold."""
        return self._taken.version if self._taken else NOTHING

    def catch_up(self, upto: int | None = None) -> int:
        """Write what bronze's log has gained; the version that the files then hold.

        Raises TableMissing while bronze does not exist. From another bronze table, or
        one that went back, or whose log was cleaned, the files are made anew.
        """
        if not DeltaTable.is_deltatable(self._bronze_uri):
            name = self.flow.product
            raise TableMissing(f"bronze.{name}", "does not exist yet", f"run {name}.bronze first")
        bronze = DeltaTable(self._bronze_uri)
        id_ = str(bronze.metadata().id)
        target = int(bronze.version()) if upto is None else upto
        if self._must_start_anew(id_, target):
            self._anew(bronze, target)
            return target
        self._taken = self._taken or Taken(id_)
        try:
            for step in increments(self._bronze_uri, self.version, target, max_rows=0):
                self._write(step.version, self._rows(step.files))
                self._record(step.version)
        except (FileNotFoundError, TableDamaged):
            self._anew(bronze, target)
        return target

    def _must_start_anew(self, id_: str, target: int) -> bool:
        """Whether the files are of another table or unknown versions, or bronze went back."""
        if self._taken is None:
            return any(self.folder.glob(f"{DATE}=*/*.parquet"))
        if self._taken.bronze != id_ or self._taken.version == NOTHING:
            return True
        same = is_same_commit(self._bronze_uri, asdict(self._taken))
        return self._taken.version > target or not same

    def take(self, version: int, rows: pa.Table) -> None:
        """Write the rows of one new bronze version that are at hand."""
        if version != self.version + 1:
            self.catch_up(version)
            return
        self._write(version, rows)
        self._record(version)

    def _rows(self, files: tuple[str, ...]) -> pa.Table | None:
        if not files:
            return None
        listed = f"read_parquet({list(files)!r}, hive_partitioning=false, union_by_name=true)"
        return query(self._connection, f"SELECT * FROM {listed}")

    def _write(self, version: int, rows: pa.Table | None) -> list[Path]:
        """A file a date, each complete under its name; which those are."""
        if rows is None:
            return []
        columns = ", ".join(f'"{column}"' for column in self.flow.columns)
        self._connection.register("landing", rows)
        chosen = query(
            self._connection,
            f"SELECT {columns}, {self.flow.date} AS {DATE} FROM landing "
            f'WHERE NOT is_duplicate AND ({self.flow.where}) ORDER BY "partition", "offset"',
        )
        self._connection.unregister("landing")
        return [self._write_one(version, date, part) for date, part in _by_date(chosen)]

    def _write_one(self, version: int, date: str, rows: pa.Table) -> Path:
        folder = self.folder / f"{DATE}={date}"
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        path, part = folder / f"v{version}.parquet", folder / f".v{version}.part"
        with part.open("wb") as out:
            pq.write_table(rows, out, compression=self.settings.publish.compression)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
        sync_folder(folder)
        if is_new:
            sync_folder(self.folder)
        failpoint.reach(Step.PARQUET_WRITTEN)
        return path

    def _record(self, version: int) -> None:
        if self._taken is None:
            self._taken = Taken(str(DeltaTable(self._bronze_uri).metadata().id))
        time = commit_time(self._bronze_uri, version)
        self._taken = replace(self._taken, version=version, time=time)
        part = self.folder / f".{TAKEN}.part"
        with part.open("w", encoding="utf-8") as out:
            json.dump(asdict(self._taken), out)
            out.flush()
            os.fsync(out.fileno())
        part.replace(self.folder / TAKEN)
        sync_folder(self.folder)

    def _anew(self, bronze: DeltaTable, target: int) -> None:
        """All of bronze under its newest version's name; the files before it go.

        Run again after a crash it begins anew: what the files hold is then unknown.
        """
        self._taken = Taken(str(bronze.metadata().id))
        self._record(NOTHING)
        bronze.load_as_version(target)
        kept = set(self._write(target, self._rows(tuple(bronze.file_uris()))))
        for file in self.folder.glob(f"{DATE}=*/*.parquet"):
            if file not in kept:
                file.unlink()
        for folder in self.folder.glob(f"{DATE}=*"):
            with suppress(OSError):  # it holds files
                folder.rmdir()
        self._record(target)

    def maintain(self) -> None:
        """Nothing: files are small or large as bronze's batches were, and stay."""

    def persist(self) -> None:
        """Nothing: every version is on disk when it is taken."""


def _by_date(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each date, and it as YYYY-MM-DD."""
    for date in pc.unique(rows[DATE]):
        part = rows.filter(pc.equal(rows[DATE], date)).drop_columns([DATE])
        yield date.as_py().isoformat(), part
