"""A decoded batch becomes commits of quarantine and bronze, exactly once.

Quarantine commits first, then bronze, whose ends alone count. A batch that is
run again after a crash is cut at bronze's ends, and records that only
quarantine took are matched by address. Both writers keep this protocol.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.ingest.copies import Copies
from lakehouse.ingest.decode import TIME
from lakehouse.ingest.position import Position
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA, bronze_schema
from lakehouse.ingest.tables import BronzeTables
from lakehouse.ingest.topic import Topic
from lakehouse.model.contract import Contract
from lakehouse.settings.sections import ProductSettings
from lakehouse.settings.settings import Settings


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
    """Bronze and quarantine of one product, where they stand, and their copies."""

    def __init__(self, contract: Contract, tables: BronzeTables, position: Position) -> None:
        self.contract, self.tables, self.position = contract, tables, position
        self.settings, self.connection = tables.settings, tables.connection
        self.bronze, self.quarantine = tables.bronze, tables.quarantine
        self.product: ProductSettings = self.settings.product(contract.name)
        horizon = self.product.deduplication_horizon
        self.copies = Copies(self.connection, self.bronze, horizon)

    @classmethod
    def open(
        cls,
        contract: Contract,
        settings: Settings,
        topic_id: str | None,
        connection: duckdb.DuckDBPyConnection,
    ) -> BronzePublisher:
        """Both tables; TableDamaged where the topic has another id than bronze recorded.

        Without a ``topic_id`` the topic is met later: see :meth:`Position.meet`.
        """
        tables, product = (
            BronzeTables.open(contract, settings, connection),
            settings.product(contract.name),
        )
        position = Position(tables, product, topic_id or "")
        if topic_id is not None:
            position.refuse(position.meet(Topic(product.topic, topic_id)))
        return cls(contract, tables, position)

    def publish(self, decoded: pa.Table, ends: Mapping[int, int], now: datetime) -> Landed:
        """Commit one decoded batch that brings the table to ``ends``.

        ``decoded`` has :func:`lakehouse.ingest.decode.decoded_schema`.
        """
        started = time.perf_counter()
        decoded = self.position.new_rows(decoded)
        bad = decoded.filter(pc.is_valid(decoded["verdict"]))
        good = decoded.filter(pc.is_null(decoded["verdict"]))
        batch = self.position.ends.batch + 1
        if bad.num_rows:
            note = self.quarantine_note(batch, bad.num_rows)
            self.quarantine.append(self._quarantine_rows(bad, batch, now), note)
            failpoint.reach(Step.QUARANTINE_COMMITTED)
        rows = self.bronze_rows(good, self.copies.marks(good), now)
        self.position.ends = self.position.ends.beginning(lowest_offsets(decoded))
        self.position.advance(pc.max(rows["event_time"]).as_py(), ends, batch)
        late, duplicates = marked(rows)
        note = self.position.note(rows.num_rows, bad.num_rows, late, duplicates)
        transactions = {f"ends:{self.position.ends.topic_id}:{p}": o for p, o in ends.items()}
        with failpoint.writing(Step.BRONZE_FILES, self.bronze.uri, self.bronze.version + 1):
            version = self.bronze.append(rows, note, transactions)
        failpoint.reach(Step.BRONZE_COMMITTED)
        return Landed(
            version, rows, rows.num_rows, bad.num_rows, late, duplicates,
            time.perf_counter() - started,
        )  # fmt: skip

    def quarantine_note(self, batch: int, rows: int) -> dict[str, Any]:
        """What a quarantine commit says of itself."""
        return {"flow": f"{self.contract.name}.bronze", "batch": batch, "rows": rows}

    def maintain(self, now: datetime) -> None:
        """Between batches: drop old quarantine, compact, remove old files, as settings say."""
        self.tables.maintain(now)

    def bronze_rows(self, good: pa.Table, duplicates: pa.Array, now: datetime) -> pa.Table:
        """Decoded good rows as the next batch of bronze, with what landing adds."""
        size = good.num_rows
        watermark = self.position.watermark
        late = (
            pc.less(good["event_time"], pa.scalar(watermark, TIME))
            if watermark is not None
            else pa.array([False] * size)
        )
        added = {
            "ingest_time": pa.repeat(pa.scalar(now, TIME), size),
            "batch_id": pa.repeat(pa.scalar(self.position.ends.batch + 1, pa.int64()), size),
            "watermark": pa.repeat(pa.scalar(watermark, TIME), size),
            "is_late": late,
            "is_duplicate": duplicates,
            "event_date": good["event_time"].cast(pa.date32(), safe=False),
        }
        schema = bronze_schema(self.contract)
        return pa.table([added[n] if n in added else good[n] for n in schema.names], schema=schema)

    def _quarantine_rows(self, bad: pa.Table, batch: int, now: datetime) -> pa.Table:
        size = bad.num_rows
        added = {
            "batch_id": pa.repeat(pa.scalar(batch, pa.int64()), size),
            "flow": pa.repeat(pa.scalar(f"{self.contract.name}.bronze"), size),
            "contract_version": pa.repeat(pa.scalar(self.contract.version, pa.int32()), size),
            "quarantined_at": pa.repeat(pa.scalar(now, TIME), size),
            "topic_id": pa.repeat(
                pa.scalar(self.position.ends.topic_id or None, pa.string()), size
            ),
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


def marked(rows: pa.Table) -> tuple[int, int]:
    """How many of bronze's rows are late, and how many are copies."""
    late, duplicates = (int(pc.sum(rows[c]).as_py() or 0) for c in ("is_late", "is_duplicate"))
    return late, duplicates
