"""A decoded batch becomes commits of quarantine and bronze, exactly once.

Quarantine commits first, then bronze, whose ends alone count. A batch that is
run again after a crash is cut at bronze's ends, and records that only
quarantine took are matched by address. Both writers keep this protocol.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.contracts.contract import Contract
from lakehouse.core.duck import query
from lakehouse.core.errors import TableDamaged
from lakehouse.core.paths import Lake
from lakehouse.core.sections import ProductSettings
from lakehouse.core.settings import Settings
from lakehouse.ingest.decode import ADDRESS, HEADERS, TIME
from lakehouse.ingest.seen import Seen, copies, hash_sql, keys
from lakehouse.publish.delta import Table
from lakehouse.publish.ends import Ends


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
    ]
)


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
        topic_id: str,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        lake = Lake(settings.lake.root)
        self.contract, self.settings, self._connection = contract, settings, connection
        self.product: ProductSettings = settings.product(contract.name)
        self.bronze = Table(
            lake.table(f"bronze.{contract.name}"),
            bronze_schema(contract),
            settings,
            partition_by=["event_date"],
            description=f"typed {contract.name} events, each with its Kafka address",
        )
        self.quarantine = Table(
            lake.table(f"quarantine.{contract.name}"),
            QUARANTINE_SCHEMA,
            settings,
            description=f"records of {contract.name} that broke the contract, bytes kept",
        )
        self.ends = self._read_ends(topic_id)
        self.ahead = self._quarantined_above_ends()
        self._seen: Seen | None = None

    def _read_ends(self, topic_id: str) -> Ends:
        note = self.bronze.last_note("ends")
        if note is None:
            if self.bronze.files():
                return self._ends_from_rows(topic_id)
            return Ends(self.product.topic, topic_id)
        ends = Ends.read(note)
        if ends.topic_id != topic_id or ends.topic != self.product.topic:
            raise TableDamaged(
                f"bronze.{self.contract.name}",
                f"it holds topic {ends.topic!r} with id {ends.topic_id}, and the broker has "
                f"{self.product.topic!r} with id {topic_id}: the topic was made anew",
                "bring the old topic back, or start a new lake by [lake] root",
            )
        return ends

    def _ends_from_rows(self, topic_id: str) -> Ends:
        """Where the log no longer has a commit with ends: what the rows themselves hold.

        Bronze's rows alone: a record that only quarantine holds is read again and
        matched by address.
        """
        found = self._connection.execute(
            'SELECT "partition", max("offset") + 1, max(event_time), max(batch_id) '
            "FROM read_parquet($files) WHERE topic = $topic GROUP BY 1",
            {"files": self.bronze.files(), "topic": self.product.topic},
        ).fetchall()
        newest = max((row[2] for row in found), default=None)
        batch = max((row[3] for row in found), default=-1)
        return Ends(self.product.topic, topic_id, {row[0]: row[1] for row in found}, newest, batch)

    def _quarantined_above_ends(self) -> set[tuple[int, int]]:
        """Addresses that a crash left in quarantine alone; usually none."""
        files = self.quarantine.files()
        if not files:
            return set()
        found = query(
            self._connection,
            'SELECT "partition", "offset" FROM read_parquet($files) WHERE topic = $topic',
            {"files": files, "topic": self.product.topic},
        )
        found = found.filter(self._above(found))
        return set(zip(*(found[c].to_pylist() for c in ("partition", "offset")), strict=True))

    def _without_quarantined(self, decoded: pa.Table) -> pa.Table:
        """The rows that a crash did not already leave in quarantine."""
        addresses = zip(*(decoded[c].to_pylist() for c in ("partition", "offset")), strict=True)
        kept = pa.array([address not in self.ahead for address in addresses], pa.bool_())
        return decoded.filter(kept)

    def _above(self, rows: pa.Table) -> pa.Array:
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
        decoded = decoded.filter(self._above(decoded))
        if self.ahead:
            decoded = self._without_quarantined(decoded)
        bad = decoded.filter(pc.is_valid(decoded["verdict"]))
        good = decoded.filter(pc.is_null(decoded["verdict"]))
        batch = self.ends.batch + 1
        if bad.num_rows:
            note = self.quarantine_note(batch, bad.num_rows)
            self.quarantine.append(self._quarantine_rows(bad, now), note)
        rows = self._bronze_rows(good, batch, now)
        self.advance(pc.max(rows["event_time"]).as_py(), ends, batch)
        late, duplicates = (int(pc.sum(rows[c]).as_py() or 0) for c in ("is_late", "is_duplicate"))
        note = self.bronze_note(rows.num_rows, bad.num_rows, late, duplicates)
        transactions = {f"ends:{self.ends.topic_id}:{p}": o for p, o in ends.items()}
        version = self.bronze.append(rows, note, transactions)
        return Landed(
            version, rows, rows.num_rows, bad.num_rows, late, duplicates,
            time.perf_counter() - started,
        )  # fmt: skip

    def advance(self, newest: datetime | None, ends: Mapping[int, int], batch: int) -> None:
        """The ends that the next bronze commit will carry."""
        known = [t for t in (newest, self.ends.newest) if t is not None]
        self.ends = Ends(
            self.ends.topic,
            self.ends.topic_id,
            {**self.ends.next, **ends},
            max(known) if known else None,
            batch,
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

    def forget_seen(self) -> None:
        """Spark wrote rows that the memory of event_ids did not see: read it anew next time."""
        self._seen = None

    def maintain(self, now: datetime) -> None:
        """Between batches: drop old quarantine, compact, remove old files, as settings say."""
        keep = self.settings.maintenance.quarantine_retention
        if keep:
            self.quarantine.drop_before("quarantined_at", now - keep)
        self.quarantine.maintain()
        self.bronze.maintain()

    def _bronze_rows(self, good: pa.Table, batch: int, now: datetime) -> pa.Table:
        size = good.num_rows
        watermark = self.watermark
        late = (
            pc.less(good["event_time"], pa.scalar(watermark, TIME))
            if watermark is not None
            else pa.array([False] * size)
        )
        added = {
            "ingest_time": pa.repeat(pa.scalar(now, TIME), size),
            "batch_id": pa.repeat(pa.scalar(batch, pa.int64()), size),
            "watermark": pa.repeat(pa.scalar(watermark, TIME), size),
            "is_late": late,
            "is_duplicate": self._duplicates(good),
            "event_date": good["event_time"].cast(pa.date32(), safe=False),
        }
        schema = bronze_schema(self.contract)
        return pa.table([added[n] if n in added else good[n] for n in schema.names], schema=schema)

    @property
    def watermark(self) -> datetime | None:
        """The newest event time that bronze has committed, less the delay."""
        newest = self.ends.newest
        return None if newest is None else newest - self.product.watermark_delay

    def _duplicates(self, good: pa.Table) -> pa.Array:
        horizon = _micros(self.product.deduplication_horizon)
        if self._seen is None:
            self._seen = self._recent(horizon)
        if not good.num_rows:
            return pa.array([], pa.bool_())
        marks = copies(self._connection, good, self._seen, horizon)
        newest = pc.max(good["kafka_time"]).as_py()
        self._seen.expire(_micros(newest - datetime(1970, 1, 1, tzinfo=UTC)) - horizon)
        return marks

    def _recent(self, horizon: int) -> Seen:
        """The event_ids that bronze took within the horizon before its newest record."""
        seen, files = Seen(), self.bronze.files()
        if files:
            select = hash_sql("event_id", "epoch_us(kafka_time)")
            self._connection.execute("SET VARIABLE files = $files", {"files": files})
            seen.add(
                keys(
                    self._connection,
                    f"SELECT {select} FROM read_parquet(getvariable('files')) "
                    "WHERE epoch_us(kafka_time) >= (SELECT max(epoch_us(kafka_time)) "
                    f"FROM read_parquet(getvariable('files'))) - {horizon}",
                )
            )
        return seen

    def _quarantine_rows(self, bad: pa.Table, now: datetime) -> pa.Table:
        size = bad.num_rows
        added = {
            "flow": pa.repeat(pa.scalar(f"{self.contract.name}.bronze"), size),
            "contract_version": pa.repeat(pa.scalar(self.contract.version, pa.int32()), size),
            "quarantined_at": pa.repeat(pa.scalar(now, TIME), size),
        }
        return pa.table(
            [added[n] if n in added else bad[n] for n in QUARANTINE_SCHEMA.names],
            schema=QUARANTINE_SCHEMA,
        )


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
