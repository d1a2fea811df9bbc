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
from lakehouse.core.errors import TableDamaged, TableMissing
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import Lake
from lakehouse.model.flow import ParquetFlow
from lakehouse.settings.settings import Settings
from lakehouse.storage.anew import parts, warn
from lakehouse.storage.data_files import files_of
from lakehouse.storage.duck import query, reads
from lakehouse.storage.increments import increments
from lakehouse.storage.log import commit_time, is_same_commit, sync_folder

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
        self.flow, self.settings, self._connection = flow, settings, connection.cursor()
        lake = Lake(settings.lake.root)
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
        if reason := self._must_start_anew(id_, target):
            self._anew(bronze, target, reason)
            return target
        self._taken = self._taken or Taken(id_)
        try:
            for step in increments(self._bronze_uri, self.version, target, max_rows=0):
                self._write(f"v{step.version}", self._rows(step.files))
                self._record(step.version)
        except (FileNotFoundError, TableDamaged) as error:
            self._anew(bronze, target, str(error))
        return target

    def _must_start_anew(self, id_: str, target: int) -> str:
        """Why the files cannot go on from the version that they have; or nothing."""
        if self._taken is None:
            there = any(self.folder.glob(f"{DATE}=*/*.parquet"))
            return f"files are there, and no {TAKEN} says what they have" if there else ""
        if self._taken.bronze != id_:
            return "the files are of another bronze table"
        if self._taken.version == NOTHING:
            return "they were being made anew when the flow ended"
        if self._taken.version > target:
            return f"the files have version {self._taken.version}, and bronze is at {target}"
        if not is_same_commit(self._bronze_uri, asdict(self._taken)):
            return "bronze went back, and wrote other commits since"
        return ""

    def take(self, version: int, rows: pa.Table) -> None:
        """Write the rows of one new bronze version that are at hand."""
        if version != self.version + 1:
            self.catch_up(version)
            return
        self._write(f"v{version}", rows)
        self._record(version)

    def _rows(self, files: tuple[str, ...]) -> pa.Table | None:
        if not files:
            return None
        listed = reads(files, "hive_partitioning = false, union_by_name = true")
        return query(self._connection, f"SELECT * FROM {listed}")

    def _write(self, name: str, rows: pa.Table | None) -> list[Path]:
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
        return [self._write_one(name, date, part) for date, part in _by_date(chosen)]

    def _write_one(self, name: str, date: str, rows: pa.Table) -> Path:
        folder = self.folder / f"{DATE}={date}"
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        path, part = folder / f"{name}.parquet", folder / f".{name}.part"
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

    def _anew(self, bronze: DeltaTable, target: int, reason: str) -> None:
        """All of bronze under its newest version's name, a part at a time; older files go.

        Run again after a crash it begins anew: what the files hold is then unknown.
        """
        warn(self.flow.name, target, reason)
        self._taken = Taken(str(bronze.metadata().id))
        self._record(NOTHING)
        bronze.load_as_version(target)
        files = files_of(bronze)
        kept: set[Path] = set()
        for number, (part, _, _) in enumerate(parts(files, self.settings.silver.max_rows_per_fold)):
            kept |= {
                *self._write(f"v{target}-{number}" if number else f"v{target}", self._rows(part))
            }
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
