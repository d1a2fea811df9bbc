"""A decoded batch becomes commits of quarantine and bronze, exactly once.

Quarantine commits first, then bronze, whose ends alone count. A batch that is
run again after a crash is cut at bronze's ends, and records that only
quarantine took are matched by address. Both writers keep this protocol.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from deltalake import DeltaTable

from lakehouse.core import failpoint
from lakehouse.core.errors import TableDamaged
from lakehouse.core.failpoint import Step
from lakehouse.core.paths import Lake
from lakehouse.ingest.copies import Copies
from lakehouse.ingest.decode import ADDRESS, HEADERS, TIME
from lakehouse.ingest.ends import Ends, Lost, gaps
from lakehouse.ingest.erased import drop_old_quarantine
from lakehouse.ingest.topic import Topic
from lakehouse.model.contract import Contract
from lakehouse.settings.sections import ProductSettings
from lakehouse.settings.settings import Settings
from lakehouse.storage.columns import add_missing_columns
from lakehouse.storage.data_files import files_of
from lakehouse.storage.duck import patterns, query, reads
from lakehouse.storage.log import note_of
from lakehouse.storage.table import Table
from lakehouse.storage.upkeep import Upkeep

log = structlog.get_logger("lakehouse")


def bronze_schema(contract: Contract) -> pa.Schema:
    """The event's own columns, ``extra``, the record's address and what landing adds."""
    return pa.schema(
        [
            *contract.schema,
            pa.field("extra", pa.string()),
            *[f.with_nullable(False) for f in ADDRESS],
            pa.field("ingest_time", TIME, nullable=False),
            pa.field("batch_id", pa.int64(), nullable=False),
            pa.field("watermark", TIME),
            pa.field("is_late", pa.bool_(), nullable=False),
            pa.field("is_duplicate", pa.bool_(), nullable=False),
            pa.field("event_date", pa.date32(), nullable=False),
        ]
    )


QUARANTINE_SCHEMA = pa.schema(
    [
        *[f.with_nullable(False) for f in ADDRESS],
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", HEADERS),
        pa.field("flow", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("contract_version", pa.int32(), nullable=False),
        pa.field("quarantined_at", TIME, nullable=False),
        pa.field("replayed_version", pa.int64()),
        pa.field("replayed_at", TIME),
        pa.field("batch_id", pa.int64()),
        pa.field("topic_id", pa.string()),
    ]
)
"""Which rows count as replayed: see :mod:`lakehouse.ingest.replayed`."""


@dataclass(frozen=True)
class Landed:
    """What one batch added."""

    version: int
    rows: pa.Table | None
    """The rows, where they are at hand in the driver."""
    good: int
    bad: int
    late: int
    duplicates: int
    seconds: float


class BronzePublisher:
    """Bronze and quarantine of one product, held by this process."""

    def __init__(
        self,
        contract: Contract,
        settings: Settings,
        topic_id: str | None,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        """Open both tables; TableDamaged where the topic has another id than bronze recorded.

        Without a ``topic_id`` the topic is met later: see :meth:`meet`.
        """
        lake = Lake(settings.lake.root)
        self.contract, self.settings, self.connection = contract, settings, connection
        self.product: ProductSettings = settings.product(contract.name)
        self.bronze = Table.open(
            lake.table(f"bronze.{contract.name}"),
            bronze_schema(contract),
            settings,
            partition_by=["event_date"],
            fingerprinted=True,
            description=f"typed {contract.name} events, each with its Kafka address",
        )
        self.quarantine = Table.open(
            lake.table(f"quarantine.{contract.name}"),
            QUARANTINE_SCHEMA,
            settings,
            description=f"records of {contract.name} that broke the contract, bytes kept",
            fingerprinted=True,
        )
        add_missing_columns(self.quarantine)
        self._upkeep = Upkeep(self.bronze), Upkeep(self.quarantine)
        self.ends = self._read_ends(topic_id or "")
        self.went_back = self._was_restored()
        """Whether a table is at an older version than when bronze recorded its ends."""
        if (has := self._quarantine_has()) is not None:
            self.ends, self.went_back = self.ends.gone_back(has), True
        self.ahead = self._held_above_ends()
        self.copies = Copies(connection, self.bronze, self.product.deduplication_horizon)
        if topic_id is not None:
            self.refuse(self.meet(Topic(self.product.topic, topic_id)))

    def _read_ends(self, topic_id: str) -> Ends:
        note = self.bronze.last_note("ends")
        if note is None:
            if self.bronze.files():
                return self._ends_from_rows(topic_id)
            return Ends(self.product.topic, topic_id)
        ends = Ends.read(note)
        if ends.topic != self.product.topic:
            raise TableDamaged(
                f"bronze.{self.contract.name}",
                f"it holds topic {ends.topic!r}, and the settings name {self.product.topic!r}",
                f"set [{self.contract.name}] topic = {ends.topic}, or give another lake a root",
            )
        return ends

    def _was_restored(self) -> bool:
        """Whether bronze has landed nothing since a RESTORE."""
        for commit in self.bronze.commits():
            if commit.get("operation") == "RESTORE":
                return True
            if "rows" in note_of(commit):  # upkeep carries the ends on, and lands nothing
                return False
        return False

    def _quarantine_has(self) -> dict[int, int] | None:
        """How far the batches reach that quarantine still has, where it went back or lost files.

        None where it has all that it had when bronze recorded its ends; no partition
        where nobody can tell.
        """
        if self.ends.quarantine is None or self.ends.quarantine[0] == 0:
            return None  # it was empty, if it was there
        version, time = self.ends.quarantine
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
        return dict(reached.next) if reached and reached.lost == self.ends.lost else {}

    def meet(self, topic: Topic) -> tuple[Lost, ...]:
        """Go on with the topic as it is now; or what of it is lost, in which case nothing changes.

        A gap whose every offset one of the tables holds is none.
        """
        known = self.ends
        if not self.ends.next:
            self.ends = replace(self.ends, topic_id=topic.id)
        elif not self.ends.topic_id:
            self.ends = self._recognised(topic)
        if self.ends != known:
            self.ahead = self._held_above_ends()
        found = self.gaps(topic)
        if any(gap.offsets != 0 for gap in found):
            return found
        self.ends = self.ends.past(found, topic)
        return ()

    def _recognised(self, topic: Topic) -> Ends:
        """The ends where no commit in the log says of which topic they are: the id is found.

        Bronze's application transactions name topics that it landed, and quarantine's
        rows the one that they came from. Where neither does it is taken for the topic
        as it is now: what bronze holds is not landed again.
        """
        landed = [f"ends:{topic.id}:{partition}" for partition in topic.ranges]
        marks = [f"since:{topic.id}", *landed]
        id_ = topic.id
        if all(self.bronze.dt.transaction_version(mark) is None for mark in marks):
            id_ = self._quarantined_from() or topic.id
            told = {"topic": topic.name, "bronze": id_, "now": topic.id}
            log.warning("no commit says which topic bronze holds: found by what it holds", **told)
        if self.bronze.last_note("ends") is None:
            return self._ends_from_rows(id_)
        return replace(self.ends, topic_id=id_)

    def _quarantined_from(self) -> str | None:
        """The topic's id that quarantine's newest rows have; None where they have none."""
        if not (files := self.quarantine.files()):
            return None
        self.connection.register("no_rows", QUARANTINE_SCHEMA.empty_table())
        found = query(
            self.connection,
            "SELECT arg_max(topic_id, batch_id) AS id FROM (FROM read_parquet($files, "
            "union_by_name = true) UNION ALL BY NAME FROM no_rows) WHERE topic = $topic",
            {"files": patterns(files), "topic": self.product.topic},
        )
        self.connection.unregister("no_rows")
        id_: str | None = found["id"][0].as_py()
        return id_

    def gaps(self, topic: Topic) -> tuple[Lost, ...]:
        """What bronze has not taken and the topic no longer has."""
        return tuple(self._measured(gap) for gap in gaps(self.ends, topic))

    def _measured(self, gap: Lost) -> Lost:
        """The gap less what a table holds, and less what was gone before bronze began."""
        if gap.next is None or gap.topic_id != self.ends.topic_id:
            return gap
        rows = self.ahead.filter(pc.equal(self.ahead["partition"], gap.partition))
        held, first = set(rows["offset"].to_pylist()), gap.first
        if held and gap.partition in self.ends.held:
            first = max(first, min(held))
        inside = sum(1 for offset in held if first <= offset < gap.next)
        return replace(gap, first=first, offsets=max(0, gap.next - first - inside))

    def refuse(self, lost: tuple[Lost, ...]) -> None:
        """Raise TableDamaged with what is lost, and the command that accepts it."""
        if lost:
            listed = "".join(f"\n  {gap.told()}" for gap in lost if gap.offsets != 0)
            raise TableDamaged(
                f"bronze.{self.contract.name}",
                f"Kafka no longer has what topic {self.product.topic} goes on with:{listed}",
                "give the topic its records back; or accept the gap, which the audit then lists: "
                f"lakehouse accept-gap {self.contract.name} --root {self.settings.lake.root}",
            )

    def accept(self, topic: Topic) -> tuple[Lost, ...]:
        """Give up what the topic no longer has, in one commit of bronze; what that is.

        Run again after a crash it finds nothing more to accept.
        """
        lost = self.meet(topic)
        if not lost:
            return ()
        batch = max([lost[0].batch, self._last_quarantined_batch() + 1])
        lost = tuple(replace(gap, batch=batch) for gap in lost)
        self.ends = replace(self.ends.past(lost, topic), quarantine=self._quarantine_now())
        note = {**self.bronze_note(0, 0, 0, 0), "accepted": len(lost)}
        mark = {} if topic.id == lost[0].topic_id else {f"since:{topic.id}": batch}
        self.bronze.append(bronze_schema(self.contract).empty_table(), note, mark)
        self.ahead = self._held_above_ends()
        return lost

    def give_up(self, lost: tuple[Lost, ...]) -> None:
        """Let the next commit say that these offsets are lost."""
        self.ends = replace(self.ends, lost=(*self.ends.lost, *lost))

    def _ends_from_rows(self, topic_id: str) -> Ends:
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
                "topic": self.product.topic,
                "since": -1 if since is None else since,
            },
        ).fetchall()
        newest = max((row[2] for row in found), default=None)
        batch = max((row[3] for row in found), default=-1)
        return Ends(self.product.topic, topic_id, {row[0]: row[1] for row in found}, newest, batch)

    def _held_above_ends(self) -> pa.Table:
        """Partition and offset of records that a table holds above the ends; usually none.

        A crash left them in quarantine alone, or the ends went back; erased ones count as held.
        """
        held = [self._addresses_above_ends([*self.quarantine.files(), *self.erased_files()])]
        if self.ends.held:
            held.append(self._addresses_above_ends(self.bronze.files()))
        return pa.concat_tables(held)

    def _addresses_above_ends(self, files: list[str]) -> pa.Table:
        source = "no_rows"
        if files:
            source = f"(FROM {reads(files, 'union_by_name = true')} UNION ALL BY NAME "
            source += "FROM no_rows)"
        self.connection.register("no_rows", QUARANTINE_SCHEMA.empty_table())
        found = query(
            self.connection,
            f'SELECT "partition", "offset" FROM {source} WHERE topic = $topic '
            f"AND {self.ends.are_above()} AND {self.ends.are_of_now(by_id=True)}",
            {"topic": self.product.topic},
        )
        self.connection.unregister("no_rows")
        return found

    def _last_quarantined_batch(self) -> int:
        """The greatest batch number that quarantine has seen."""
        batches = (note.get("batch", -1) for note in self.quarantine.notes())
        return max(batches, default=-1)

    def _quarantine_now(self) -> tuple[int, int] | None:
        """Quarantine's newest commit: its version and time in ms."""
        newest = next(self.quarantine.commits(), None)
        return (int(newest["version"]), int(newest["timestamp"])) if newest else None

    def erased_files(self) -> list[str]:
        """Files of the ledger of erased addresses: what it names is not landed again."""
        uri = Lake(self.settings.lake.root).table(f"erased.{self.contract.name}")
        return files_of(DeltaTable(uri)) if DeltaTable.is_deltatable(uri) else []

    def _without_held(self, decoded: pa.Table) -> pa.Table:
        """The rows that no table holds already."""
        return decoded.filter(pc.invert(pc.is_in(_key(decoded), _key(self.ahead).combine_chunks())))

    def above(self, rows: pa.Table) -> pa.Array:
        """Which rows lie at or above the ends of their partition."""
        above = pa.array([False] * rows.num_rows, pa.bool_())
        for partition in pc.unique(rows["partition"]).to_pylist():
            here = pc.equal(rows["partition"], partition)
            past = pc.greater_equal(rows["offset"], self.ends.next.get(partition, 0))
            above = pc.or_(above, pc.and_(here, past))
        return above

    def publish(self, decoded: pa.Table, ends: Mapping[int, int], now: datetime) -> Landed:
        """Commit one decoded batch that brings the table to ``ends``.

        ``decoded`` has :func:`lakehouse.ingest.decode.decoded_schema`.
        """
        started = time.perf_counter()
        decoded = decoded.filter(self.above(decoded))
        if self.ahead.num_rows:
            decoded = self._without_held(decoded)
        bad = decoded.filter(pc.is_valid(decoded["verdict"]))
        good = decoded.filter(pc.is_null(decoded["verdict"]))
        batch = self.ends.batch + 1
        if bad.num_rows:
            note = self.quarantine_note(batch, bad.num_rows)
            self.quarantine.append(self._quarantine_rows(bad, batch, now), note)
            failpoint.reach(Step.QUARANTINE_COMMITTED)
        rows = self.bronze_rows(good, self.copies.marks(good), now)
        self.ends = self.ends.beginning(lowest_offsets(decoded))
        self.advance(pc.max(rows["event_time"]).as_py(), ends, batch)
        late, duplicates = marked(rows)
        note = self.bronze_note(rows.num_rows, bad.num_rows, late, duplicates)
        transactions = {f"ends:{self.ends.topic_id}:{p}": o for p, o in ends.items()}
        with failpoint.writing(Step.BRONZE_FILES, self.bronze.uri, self.bronze.version + 1):
            version = self.bronze.append(rows, note, transactions)
        failpoint.reach(Step.BRONZE_COMMITTED)
        return Landed(
            version, rows, rows.num_rows, bad.num_rows, late, duplicates,
            time.perf_counter() - started,
        )  # fmt: skip

    def advance(self, newest: datetime | None, ends: Mapping[int, int], batch: int) -> None:
        """The ends that the next bronze commit will carry."""
        known = [t for t in (newest, self.ends.newest) if t is not None]
        reached = {**self.ends.next, **ends}
        delay = self.product.watermark_delay // timedelta(microseconds=1)
        self.ends = replace(
            self.ends.marked_by(batch, self.copies.slots.within, delay),
            next=reached,
            newest=max(known) if known else None,
            batch=batch,
            held={p: o for p, o in self.ends.held.items() if reached.get(p, 0) < o},
            quarantine=self._quarantine_now(),
        )

    def quarantine_note(self, batch: int, rows: int) -> dict[str, Any]:
        """What a quarantine commit says of itself."""
        return {"flow": f"{self.contract.name}.bronze", "batch": batch, "rows": rows}

    def bronze_note(self, rows: int, bad: int, late: int, duplicates: int) -> dict[str, Any]:
        """What a bronze commit says of itself: the ends, and what the batch held."""
        return {
            "flow": f"{self.contract.name}.bronze",
            "ends": self.ends.note(),
            "rows": rows,
            "quarantined": bad,
            "late": late,
            "duplicates": duplicates,
        }

    def ends_note(self) -> dict[str, Any]:
        """What a commit says before quarantine's log forgets that it went back or lost files.

        The ends as they are then: what quarantine lacks is read again. Empty where bronze
        says nothing of its ends.
        """
        if not self.ends.next:
            return {}
        return {"ends": replace(self.ends, quarantine=self._quarantine_now()).note()}

    def maintain(self, now: datetime) -> None:
        """Between batches: drop old quarantine, compact, remove old files, as settings say."""
        bronze, quarantine = self._upkeep
        if self.settings.maintenance.quarantine_retention and quarantine.drop_is_due():
            drop_old_quarantine(
                self.contract.name, self.quarantine, self.settings, self.connection, now
            )
            quarantine.dropped()
        quarantine.run()
        bronze.run()

    def bronze_rows(self, good: pa.Table, duplicates: pa.Array, now: datetime) -> pa.Table:
        """Decoded good rows as the next batch of bronze, with what landing adds."""
        size = good.num_rows
        watermark = self.watermark
        late = (
            pc.less(good["event_time"], pa.scalar(watermark, TIME))
            if watermark is not None
            else pa.array([False] * size)
        )
        added = {
            "ingest_time": pa.repeat(pa.scalar(now, TIME), size),
            "batch_id": pa.repeat(pa.scalar(self.ends.batch + 1, pa.int64()), size),
            "watermark": pa.repeat(pa.scalar(watermark, TIME), size),
            "is_late": late,
            "is_duplicate": duplicates,
            "event_date": good["event_time"].cast(pa.date32(), safe=False),
        }
        schema = bronze_schema(self.contract)
        return pa.table([added[n] if n in added else good[n] for n in schema.names], schema=schema)

    @property
    def watermark(self) -> datetime | None:
        """The newest event time that bronze has committed, less the delay."""
        newest = self.ends.newest
        return None if newest is None else newest - self.product.watermark_delay

    def _quarantine_rows(self, bad: pa.Table, batch: int, now: datetime) -> pa.Table:
        size = bad.num_rows
        added = {
            "batch_id": pa.repeat(pa.scalar(batch, pa.int64()), size),
            "flow": pa.repeat(pa.scalar(f"{self.contract.name}.bronze"), size),
            "contract_version": pa.repeat(pa.scalar(self.contract.version, pa.int32()), size),
            "quarantined_at": pa.repeat(pa.scalar(now, TIME), size),
            "topic_id": pa.repeat(pa.scalar(self.ends.topic_id or None, pa.string()), size),
        }
        held = {name: bad[name] for name in bad.schema.names}
        unmarked = {f.name: pa.nulls(size, f.type) for f in QUARANTINE_SCHEMA}
        columns = unmarked | held | added
        return pa.table([columns[n] for n in QUARANTINE_SCHEMA.names], schema=QUARANTINE_SCHEMA)


def lowest_offsets(rows: pa.Table) -> dict[int, int]:
    """The lowest offset of each partition among the rows."""
    found = (
        rows.select(["partition", "offset"]).group_by("partition").aggregate([("offset", "min")])
    )
    return dict(zip(found["partition"].to_pylist(), found["offset_min"].to_pylist(), strict=True))


def _key(rows: pa.Table) -> pa.ChunkedArray:
    """One number an address."""
    partition = rows["partition"].cast(pa.int64())
    return pc.add(pc.multiply(partition, 2**48), rows["offset"])


def marked(rows: pa.Table) -> tuple[int, int]:
    """How many of bronze's rows are late, and how many are copies."""
    late, duplicates = (int(pc.sum(rows[c]).as_py() or 0) for c in ("is_late", "is_duplicate"))
    return late, duplicates
