"""The ledger of late and doubled events: one row a batch that held any, as a function of bronze.

A batch adds a row in memory; rows are written now and then, in a commit that records
the bronze version taken in. Bronze's own log says what is not written yet: a start
reads it from there, whoever wrote bronze and however the process before ended.
"""

from __future__ import annotations

import time
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core import failpoint
from lakehouse.core.errors import TableDamaged
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import Lake
from lakehouse.ingest.landing import Landed
from lakehouse.settings.settings import Settings
from lakehouse.storage.anew import warn
from lakehouse.storage.data_files import files_of
from lakehouse.storage.duck import Prepared, Source, patterns, query, reading
from lakehouse.storage.increments import increments
from lakehouse.storage.log import commit_time, commits, is_same_commit, note_of
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import Upkeep

_TIME = pa.timestamp("us", "UTC")
LEDGER_SCHEMA = pa.schema(
    [
        pa.field("batch_id", pa.int64(), nullable=False),
        pa.field("bronze_version", pa.int64()),
        pa.field("ingest_time", _TIME, nullable=False),
        pa.field("watermark", _TIME),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("late", pa.int64(), nullable=False),
        pa.field("duplicates", pa.int64(), nullable=False),
        pa.field("most_late_us", pa.int64()),
        pa.field("first_late", _TIME),
        pa.field("last_late", _TIME),
    ]
)
_NOTHING = -1
_MOST_BEHIND = 1_000
"""Bronze versions without a late or doubled event that a restart may have to look through."""
_SUMMED = """
SELECT batch_id, bronze_version, min(ingest_time) AS ingest_time, min(watermark) AS watermark,
    count(*) AS rows,
    count(*) FILTER (is_late) AS late,
    count(*) FILTER (is_duplicate) AS duplicates,
    max(epoch_us(watermark) - epoch_us(event_time)) FILTER (is_late) AS most_late_us,
    min(event_time) FILTER (is_late) AS first_late,
    max(event_time) FILTER (is_late) AS last_late
FROM {rows} GROUP BY batch_id, bronze_version HAVING bool_or(is_late OR is_duplicate)
ORDER BY bronze_version, batch_id
"""
_LANDED = pa.schema(
    [
        *(pa.field(name, pa.int64()) for name in ("batch_id", "bronze_version")),
        *(pa.field(name, _TIME) for name in ("ingest_time", "watermark", "event_time")),
        *(pa.field(name, pa.bool_()) for name in ("is_late", "is_duplicate")),
    ]
)
_OF_FILES = """(
    SELECT batch_id, ingest_time, watermark, event_time, is_late, is_duplicate, bronze_version
    FROM read_parquet($files, union_by_name = true, hive_partitioning = false, filename = true)
    JOIN landed_in ON filename = file
)"""
_OF_BATCHES = """(
    SELECT rows.*, landed_in.bronze_version
    FROM read_parquet($files, union_by_name = true, hive_partitioning = false) rows
    LEFT JOIN landed_in USING (batch_id)
)"""


class Ledger:
    """The table ``ledger.<product>``, held by the process that lands bronze.

    Opening it takes in what bronze's log has gained since it was last written.
    """

    def __init__(
        self, product: str, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> None:
        lake = Lake(settings.lake.root)
        self._flow, self._connection = f"{product}.bronze", connection.cursor()
        self._bronze_uri, self._bronze_name = lake.table(f"bronze.{product}"), f"bronze.{product}"
        self._wait = settings.silver.finer_persist_interval.total_seconds()
        self.table = Table.open(
            lake.table(f"ledger.{product}"),
            LEDGER_SCHEMA,
            settings,
            description=f"batches of {product} that held late or doubled events",
            fingerprinted=True,
        )
        self._upkeep = Upkeep(self.table)
        self._landed = Source(_LANDED)
        cursor = reading(connection, {"landed_rows": self._landed})
        self._summed = Prepared(cursor, _SUMMED.format(rows="landed_rows"))
        bronze = DeltaTable(self._bronze_uri)
        self._bronze_id = str(bronze.metadata().id)
        self._pending: list[pa.Table] = []
        self._held = self._written = self._taken(bronze.version())
        self._persisted_at = time.monotonic()
        self._follow(bronze.version())
        if self._pending:
            self.persist()

    def _taken(self, newest: int) -> int:
        """The bronze version that the table records; nothing where it is of another bronze."""
        note = self.table.last_note("source") or {}
        is_of_this = note.get("id") == self._bronze_id and note["version"] <= newest
        is_of_this = is_of_this and is_same_commit(self._bronze_uri, note)
        return int(note["version"]) if is_of_this else _NOTHING

    def take(self, landed: Landed) -> None:
        """Take in a batch that bronze has committed; write where it is time."""
        marked = landed.late or landed.duplicates
        if landed.version != self._held + 1 or (marked and landed.rows is None):
            self._follow(landed.version)
        elif marked and landed.rows is not None:
            versions = pa.repeat(landed.version, landed.rows.num_rows)
            self._landed.put(landed.rows.append_column("bronze_version", versions))
            self._keep(self._summed())
            self._landed.clear()
        self._held = landed.version
        if self._is_due():
            self.persist()

    def _follow(self, upto: int) -> None:
        """Take in bronze's versions up to ``upto`` from its log, or all of bronze anew."""
        if self._held == _NOTHING and self.table.files():
            self._anew(upto, "its rows are of another bronze table, or bronze went back")
            return
        try:
            steps = [*increments(self._bronze_uri, self._held, upto, 0)]
        except (FileNotFoundError, TableDamaged) as error:
            self._anew(upto, str(error))
            return
        found = {file: step.version for step in steps for file in step.files}
        if found:
            files, versions = [*found], [*found.values()]
            self._landed_in(file=files, bronze_version=versions)
            self._add(_OF_FILES, {"files": patterns(files)})
        self._held = upto

    def _anew(self, upto: int, reason: str) -> None:
        """All rows from bronze's; their versions as far as its log still tells of them.

        In bounded memory: the engine reads bronze as a stream, and keeps a row a batch.
        """
        warn(f"{self._flow}'s ledger", upto, reason)
        bronze = DeltaTable(self._bronze_uri)
        told = [(c["version"], note_of(c)) for c in commits(self._bronze_uri, bronze.version())]
        landed = {n["ends"]["batch"]: v for v, n in told if "late" in n and "ends" in n}
        bronze.load_as_version(upto)
        self._pending = []
        if files := files_of(bronze):
            self._landed_in(batch_id=[*landed], bronze_version=[*landed.values()])
            self._add(_OF_BATCHES, {"files": patterns(files)})
        self.table.replace(self._rows(), None, self._note(upto))
        self._pending, self._held, self._written = [], upto, upto

    def _landed_in(self, **columns: list[Any]) -> None:
        types = {"file": pa.string()}
        arrays = [pa.array(v, types.get(name, pa.int64())) for name, v in columns.items()]
        self._connection.register("landed_in", pa.table(arrays, names=[*columns]))

    def _add(self, rows: str, values: dict[str, Any]) -> None:
        self._keep(query(self._connection, _SUMMED.format(rows=rows), values))

    def _keep(self, found: pa.Table) -> None:
        if found.num_rows:
            self._pending.append(found.select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA))

    def _is_due(self) -> bool:
        waited = time.monotonic() - self._persisted_at
        is_behind = self._held - self._written >= _MOST_BEHIND
        return is_behind or (bool(self._pending) and waited >= self._wait)

    def persist(self) -> None:
        """Write what is pending in one commit that records the bronze version held."""
        if self._held > self._written:
            self.table.append(self._rows(), self._note(self._held))
            failpoint.reach(Step.LEDGER_COMMITTED)
            self._pending, self._written = [], self._held
        self._persisted_at = time.monotonic()

    def _rows(self) -> pa.Table:
        return pa.concat_tables([LEDGER_SCHEMA.empty_table(), *self._pending])

    def _note(self, version: int) -> dict[str, Any]:
        source: dict[str, Any] = {"table": self._bronze_name, "id": self._bronze_id}
        source |= {"version": version, "time": commit_time(self._bronze_uri, version)}
        return {"flow": self._flow, "source": source}

    def maintain(self) -> None:
        """Between batches: compact and remove old files, as settings say."""
        self._upkeep.run()
