"""Bronze and quarantine of one product, opened to be written: what they hold, and their upkeep."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core.errors import TableDamaged
from lakehouse.core.paths import Lake
from lakehouse.ingest.ends import Ends
from lakehouse.ingest.erased import drop_old_quarantine
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA, bronze_schema
from lakehouse.model.contract import Contract
from lakehouse.settings.settings import Settings
from lakehouse.storage.columns import add_missing_columns
from lakehouse.storage.duck import patterns, query, reads
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.log import note_of
from lakehouse.storage.properties import takes_the_place_of
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import Upkeep


class BronzeTables:
    """Both tables of one product, held by this process."""

    def __init__(
        self,
        name: str,
        bronze: Table,
        quarantine: Table,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self.name, self.settings, self.connection = name, settings, connection
        self.bronze, self.quarantine = bronze, quarantine
        self.topic = settings.product(name).topic
        self._upkeep = Upkeep(bronze, beside=True), Upkeep(quarantine, beside=True)

    @classmethod
    def open(
        cls, contract: Contract, settings: Settings, connection: duckdb.DuckDBPyConnection
    ) -> BronzeTables:
        """Both tables, made where they are missing."""
        lake = Lake(settings.lake.root)
        places = [lake.table(f"{layer}.{contract.name}") for layer in ("bronze", "quarantine")]
        bronze = Table.open(
            places[0],
            bronze_schema(contract),
            settings,
            beside=places[1],
            partition_by=["event_date"],
            fingerprinted=True,
            description=f"typed {contract.name} events, each with its Kafka address",
        )
        told = (bronze.last_note("ends") or {}).get("tables", {})
        quarantine = Table.open(
            places[1],
            QUARANTINE_SCHEMA,
            settings,
            beside=places[0],
            instead_of=told.get("quarantine", ""),
            description=f"records of {contract.name} that broke the contract, bytes kept",
            fingerprinted=True,
        )
        add_missing_columns(quarantine)
        return cls(contract.name, bronze, quarantine, settings, connection)

    def was_restored(self) -> bool:
        """Whether bronze has landed nothing since a RESTORE."""
        for commit in self.bronze.commits():
            if commit.get("operation") == "RESTORE":
                return True
            if "rows" in note_of(commit):  # upkeep carries the ends on, and lands nothing
                return False
        return False

    def refuse_another_quarantine(self, ends: Ends) -> None:
        """TableDamaged where another table with rows is in the place of bronze's quarantine.

        One that a flow recreated, where none was, says whose place it takes.
        """
        recorded, dt = ends.tables.get("quarantine"), self.quarantine.dt
        if recorded in {None, dt.metadata().id, takes_the_place_of(dt)}:
            return
        if self.quarantine.files():
            raise TableDamaged(
                f"quarantine.{self.name}",
                "it is another table than the one that bronze recorded: another program put it "
                "there",
                f"put the right folder back; or move this one away and run {self.name}.bronze, "
                "which reads again what Kafka has",
            )

    def quarantine_reaches(self, ends: Ends) -> dict[int, int] | None:
        """How far the batches reach that quarantine still has, where it went back or lost files.

        None where it has all that it had when bronze recorded its ends; no partition
        where nobody can tell.
        """
        if ends.quarantine is None or ends.quarantine[0] == 0:
            return None  # it was empty, if it was there
        id_ = self.quarantine.dt.metadata().id
        if ends.tables.get("quarantine", id_) != id_:
            return {}
        version, time = ends.quarantine
        went_back = self.quarantine.version < version
        for commit in self.quarantine.commits():
            if went_back or commit["version"] < version:
                break
            if commit.get("operation") == "FSCK":
                return {}
            went_back = commit.get("operation") == "RESTORE"
            if commit["version"] == version:
                if commit["timestamp"] == time:
                    return None
                went_back = True
        if not went_back:
            return None  # the log no longer goes back so far
        batch = self.quarantine.last_note("batch")
        found = (Ends.read(note["ends"]) for note in self.bronze.notes() if "ends" in note)
        reached = next((e for e in found if batch is not None and e.batch <= batch), None)
        return dict(reached.next) if reached and reached.lost == ends.lost else {}

    def quarantined_from(self) -> str | None:
        """The topic's id that quarantine's newest rows have; None where they have none."""
        if not (files := self.quarantine.files()):
            return None
        found = query(
            self.connection,
            "SELECT arg_max(topic_id, batch_id) AS id FROM (FROM read_parquet($files, "
            "union_by_name = true) UNION ALL BY NAME FROM no_rows) WHERE topic = $topic",
            {"files": patterns(files), "topic": self.topic},
            no_rows=QUARANTINE_SCHEMA.empty_table(),
        )
        id_: str | None = found["id"][0].as_py()
        return id_

    def ends_from_rows(self, topic_id: str) -> Ends:
        """Where the log no longer has a commit with ends: what the rows themselves hold.

        Bronze's rows alone: a record that only quarantine holds is read again and
        matched by address.
        """
        since = self.bronze.dt.transaction_version(f"since:{topic_id}")
        found = self.connection.execute(
            'SELECT "partition", max("offset") + 1, max(event_time), max(batch_id) '
            "FROM read_parquet($files) WHERE topic = $topic AND batch_id > $since GROUP BY 1",
            {
                "files": patterns(self.bronze.files()),
                "topic": self.topic,
                "since": -1 if since is None else since,
            },
        ).fetchall()
        newest = max((row[2] for row in found), default=None)
        batch = max((row[3] for row in found), default=-1)
        return Ends(self.topic, topic_id, {row[0]: row[1] for row in found}, newest, batch)

    def addresses_above(self, ends: Ends) -> pa.Table:
        """Partition and offset of records that a table holds above the ends; usually none.

        A crash left them in quarantine alone, or the ends went back; erased ones count as held.
        """
        held = [self._above(ends, [*self.quarantine.files(), *self.erased_files()])]
        if ends.held:
            held.append(self._above(ends, self.bronze.files()))
        return pa.concat_tables(held)

    def _above(self, ends: Ends, files: list[str]) -> pa.Table:
        source = "no_rows"
        if files:
            source = f"(FROM {reads(files, 'union_by_name = true')} UNION ALL BY NAME "
            source += "FROM no_rows)"
        return query(
            self.connection,
            f'SELECT "partition", "offset" FROM {source} WHERE topic = $topic '
            f"AND {ends.are_above()} AND {ends.are_of_now(by_id=True)}",
            {"topic": self.topic},
            no_rows=QUARANTINE_SCHEMA.empty_table(),
        )

    def last_quarantined_batch(self) -> int:
        """The greatest batch number that quarantine has seen."""
        batches = (note.get("batch", -1) for note in self.quarantine.notes())
        return max(batches, default=-1)

    def quarantine_now(self) -> tuple[int, int] | None:
        """Quarantine's newest commit: its version and time in ms."""
        newest = next(self.quarantine.commits(), None)
        return (int(newest["version"]), int(newest["timestamp"])) if newest else None

    def ids(self, ends: Ends) -> dict[str, str]:
        """Delta's ids of the tables beside bronze; a ledger of erased addresses keeps its own.

        Nothing makes that one again, so another in its place stays in doubt.
        """
        found = {"quarantine": str(self.quarantine.dt.metadata().id)}
        erased = ends.tables.get("erased") or self._id_of_erased()
        return found | ({"erased": erased} if erased else {})

    def _id_of_erased(self) -> str:
        uri = Lake(self.settings.lake.root).table(f"erased.{self.name}")
        return str(DeltaTable(uri).metadata().id) if Path(uri, "_delta_log").is_dir() else ""

    def erased_files(self) -> list[str]:
        """Files of the ledger of erased addresses: what it names is not landed again."""
        uri = Lake(self.settings.lake.root).table(f"erased.{self.name}")
        return files_of(DeltaTable(uri)) if DeltaTable.is_deltatable(uri) else []

    def maintain(self, now: datetime) -> None:
        """Between batches: drop old quarantine, compact, remove old files, as settings say."""
        bronze, quarantine = self._upkeep
        if self.settings.maintenance.quarantine_retention and quarantine.drop_is_due():
            drop_old_quarantine(self.name, self.quarantine, self.settings, self.connection, now)
            quarantine.dropped()
        quarantine.run()
        bronze.run()

    def persist(self) -> None:
        """Commit what upkeep has begun."""
        for upkeep in self._upkeep:
            upkeep.finish()
