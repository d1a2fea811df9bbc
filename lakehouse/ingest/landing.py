"""What lands bronze: both tables of a product, where they stand, and the rows of a batch.

Which writer commits a batch is chosen at start: :mod:`lakehouse.ingest.writers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.core.paths import Lake
from lakehouse.ingest.copies import Copies
from lakehouse.ingest.kafka_time import TIME
from lakehouse.ingest.position import Position
from lakehouse.ingest.schemas import bronze_schema
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
    more: bool = False
    """Whether the flow is behind: a batch as large follows at once."""


class BronzePublisher:
    """Bronze and quarantine of one product, where they stand, and their copies."""

    def __init__(self, contract: Contract, tables: BronzeTables, position: Position) -> None:
        self.contract, self.tables, self.position = contract, tables, position
        self.settings, self.connection = tables.settings, tables.connection
        self.bronze, self.quarantine = tables.bronze, tables.quarantine
        self.product: ProductSettings = self.settings.product(contract.name)
        horizon = self.product.deduplication_horizon
        folder = Lake(self.settings.lake.root).state(f"{contract.name}.bronze")
        self.copies = Copies(self.connection, self.bronze, horizon, folder)

    @classmethod
    def open(
        cls,
        contract: Contract,
        settings: Settings,
        topic_id: str | None,
        connection: duckdb.DuckDBPyConnection,
    ) -> BronzePublisher:
        """Both tables; TableDamaged where the topic has another id than bronze recorded.

        Without a ``topic_id`` that is looked at later: see :meth:`Position.reconcile_topic`.
        """
        tables = BronzeTables.open(contract, settings, connection)
        product = settings.product(contract.name)
        position = Position(tables, product, topic_id or "")
        if topic_id is not None:
            position.refuse(position.reconcile_topic(Topic(product.topic, topic_id)))
        return cls(contract, tables, position)

    def quarantine_note(self, batch: int, rows: int) -> dict[str, Any]:
        """The metadata of a quarantine commit."""
        return {"flow": f"{self.contract.name}.bronze", "batch": batch, "rows": rows}

    def maintain(self, now: datetime) -> None:
        """Between batches: upkeep of the tables, as settings say, and of the store of event ids."""
        self.tables.maintain(now)
        self.copies.maintain()

    def persist(self) -> None:
        """Finish upkeep, and save what is kept beside the tables, so that a start reads little."""
        self.tables.persist()
        self.copies.persist()

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


def marked(rows: pa.Table) -> tuple[int, int]:
    """How many of bronze's rows are late, and how many are copies."""
    late, duplicates = (int(pc.sum(rows[c]).as_py() or 0) for c in ("is_late", "is_duplicate"))
    return late, duplicates
