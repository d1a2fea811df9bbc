"""The ledger of late and duplicate events: one row per batch that had any, as a function of bronze.

A batch adds a row in memory; rows are written now and then, in a commit that records
the applied version of bronze. Bronze's own log says what is not written yet: a start
reads it from there, whoever wrote bronze and however the process before ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import Lake
from lakehouse.ingest.landing import Landed
from lakehouse.settings.settings import Settings
from lakehouse.storage.duck import patterns, query
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.follower import Applied, Follower
from lakehouse.storage.increments import Increment
from lakehouse.storage.log import commits, note_of
from lakehouse.storage.prepared import Prepared, Source
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
_PART = "ledger"
_MOST_BEHIND = 1_000
"""Bronze versions without a late or duplicate event that a restart may have to look through."""
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


class Ledger(Follower):
    """The table ``ledger.<product>``, held by the process that lands bronze.

    What it has applied in memory is written when it is due, so its table lags behind:
    a start applies from bronze's log what the table lacks.
    """

    def __init__(
        self,
        product: str,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
    ) -> None:
        name, most = f"{product}.bronze's ledger", settings.silver.max_rows_per_fold
        super().__init__(name, product, settings, most)
        self._flow, self._connection, self.table = f"{product}.bronze", connection, table
        self._wait = settings.silver.finer_persist_interval.total_seconds()
        self._upkeep = Upkeep(table)
        self._landed = Source(_LANDED)
        landed = {"landed_rows": self._landed}
        self._summed = Prepared(connection, _SUMMED.format(rows="landed_rows"), landed)
        self._pending: list[pa.Table] = []
        self.applied = {_PART: Applied.read(table.last_note("source"))}
        self._written = self.version
        self._persisted_at = time.monotonic()

    @classmethod
    def open(
        cls, product: str, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> Ledger:
        """With its table, made where it is missing."""
        table = Table.open(
            Lake(settings.lake.root).table(f"ledger.{product}"),
            LEDGER_SCHEMA,
            settings,
            description=f"batches of {product} that held late or doubled events",
            fingerprinted=True,
        )
        return cls(product, settings, connection, table)

    @classmethod
    def at_bronze(
        cls, product: str, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> Ledger:
        """The ledger at bronze's version; what it lacked is written first."""
        ledger = cls.open(product, settings, connection)
        ledger.catch_up()
        if ledger._pending:
            ledger.persist()
        return ledger

    def has_rows(self) -> bool:
        """Whether the table has rows."""
        return bool(self.table.files())

    def take_batch(self, landed: Landed) -> None:
        """Apply a batch that bronze has committed; nothing is read where it marked nothing."""
        if landed.version == self.version + 1 and not (landed.late or landed.duplicates):
            self.take(self.version, landed.version, _LANDED.empty_table())
        else:
            self.take(landed.version - 1, landed.version, landed.rows)

    def apply(self, step: Increment) -> None:
        """Hold a row for each batch of an increment that marked any; write where it is time."""
        if step.rows is not None:
            if step.rows.num_rows:
                versions = pa.repeat(step.version, step.rows.num_rows)
                self._landed.put(step.rows.append_column("bronze_version", versions))
                self._keep(self._summed())
                self._landed.clear()
        elif step.files:
            self._add(_OF_FILES, step.files, file=[*step.files], bronze_version=[*step.versions])
        self.applied[_PART] = self.at(step.version)
        if self._is_due():
            self.persist()

    def start_over(self, target: int) -> None:
        """All rows, computed from bronze's; their versions as far as its log goes back.

        In bounded memory: the engine reads bronze as a stream, and keeps a row a batch, which
        lies in files of several dates. So it is not done in parts.
        """
        bronze = DeltaTable(self.bronze_uri)
        told = [(c["version"], note_of(c)) for c in commits(self.bronze_uri, bronze.version())]
        landed = {n["ends"]["batch"]: v for v, n in told if "late" in n and "ends" in n}
        bronze.load_as_version(target)
        self._pending = []
        if files := files_of(bronze):
            self._add(_OF_BATCHES, files, batch_id=[*landed], bronze_version=[*landed.values()])
        applied = self.at(target)
        self.table.replace([self._rows()], self.note(applied))
        self._pending, self._written, self.applied = [], target, {_PART: applied}

    def _add(self, rows: str, files: Sequence[str], **columns: list[Any]) -> None:
        types = {"file": pa.string()}
        arrays = [pa.array(v, types.get(name, pa.int64())) for name, v in columns.items()]
        landed_in = pa.table(arrays, names=[*columns])
        values = {"files": patterns(files)}
        sql = _SUMMED.format(rows=rows)
        self._keep(query(self._connection, sql, values, landed_in=landed_in))

    def _keep(self, found: pa.Table) -> None:
        if found.num_rows:
            self._pending.append(found.select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA))

    def _is_due(self) -> bool:
        waited = time.monotonic() - self._persisted_at
        is_behind = self.version - self._written >= _MOST_BEHIND
        return is_behind or (bool(self._pending) and waited >= self._wait)

    def note(self, applied: Applied) -> dict[str, Any]:
        """As every follower; the flow is bronze's, since the same process writes both."""
        return {**super().note(applied), "flow": self._flow}

    def persist(self) -> None:
        """Write what is pending in one commit that records the version applied."""
        applied = self.applied[_PART]
        if applied and applied.version > self._written:
            self.table.append(self._rows(), self.note(applied))
            failpoint.reach(Step.LEDGER_COMMITTED)
            self._pending, self._written = [], applied.version
        self._persisted_at = time.monotonic()

    def _rows(self) -> pa.Table:
        return pa.concat_tables([LEDGER_SCHEMA.empty_table(), *self._pending])

    def maintain(self) -> None:
        """Between batches: write what has waited long enough; compact and remove old files."""
        if self._is_due():
            self.persist()
        self._upkeep.run()
