"""The writer of one machine: a decoded batch is in the driver, and delta-rs commits it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.core import failpoint
from lakehouse.core.failpoint import Step
from lakehouse.ingest.kafka_time import TIME
from lakehouse.ingest.landing import BronzePublisher, Landed, marked
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA
from lakehouse.ingest.writers import no_check


class ArrowWriter:
    """Commits Arrow tables; see :class:`lakehouse.ingest.writers.BronzeWriter`."""

    def __init__(self, publisher: BronzePublisher) -> None:
        self._publisher = publisher

    def publish(
        self,
        decoded: pa.Table,
        ends: Mapping[int, int],
        now: datetime,
        check: Callable[[], None] = no_check,
    ) -> Landed:
        """As the protocol says; the batch's rows are given back."""
        started = time.perf_counter()
        check()
        publisher, position = self._publisher, self._publisher.position
        decoded = position.new_rows(decoded)
        bad = decoded.filter(pc.is_valid(decoded["verdict"]))
        good = decoded.filter(pc.is_null(decoded["verdict"]))
        batch = position.ends.batch + 1
        if bad.num_rows:
            note = publisher.quarantine_note(batch, bad.num_rows)
            publisher.quarantine.append(_quarantine_rows(publisher, bad, batch, now), note)
            failpoint.reach(Step.QUARANTINE_COMMITTED)
        rows = publisher.bronze_rows(good, publisher.copies.marks(good), now)
        position.ends = position.ends.beginning(_lowest_offsets(decoded))
        position.advance(pc.max(rows["event_time"]).as_py(), ends, batch)
        late, duplicates = marked(rows)
        note = position.note(rows.num_rows, bad.num_rows, late, duplicates)
        transactions = {f"ends:{position.ends.topic_id}:{p}": o for p, o in ends.items()}
        bronze = publisher.bronze
        with failpoint.writing(Step.BRONZE_FILES, bronze.uri, bronze.version + 1):
            version = bronze.append(rows, note, transactions)
        publisher.copies.landed(version)
        failpoint.reach(Step.BRONZE_COMMITTED)
        return Landed(
            version, rows, rows.num_rows, bad.num_rows, late, duplicates,
            time.perf_counter() - started,
        )  # fmt: skip


def _quarantine_rows(
    publisher: BronzePublisher, bad: pa.Table, batch: int, now: datetime
) -> pa.Table:
    size = bad.num_rows
    added = {
        "batch_id": pa.repeat(pa.scalar(batch, pa.int64()), size),
        "flow": pa.repeat(pa.scalar(f"{publisher.contract.name}.bronze"), size),
        "contract_version": pa.repeat(pa.scalar(publisher.contract.version, pa.int32()), size),
        "quarantined_at": pa.repeat(pa.scalar(now, TIME), size),
        "topic_id": pa.repeat(
            pa.scalar(publisher.position.ends.topic_id or None, pa.string()), size
        ),
    }
    held = {name: bad[name] for name in bad.schema.names}
    unmarked = {f.name: pa.nulls(size, f.type) for f in QUARANTINE_SCHEMA}
    columns = unmarked | held | added
    return pa.table([columns[n] for n in QUARANTINE_SCHEMA.names], schema=QUARANTINE_SCHEMA)


def _lowest_offsets(rows: pa.Table) -> dict[int, int]:
    """The lowest offset of each partition among the rows."""
    found = (
        rows.select(["partition", "offset"]).group_by("partition").aggregate([("offset", "min")])
    )
    return dict(zip(found["partition"].to_pylist(), found["offset_min"].to_pylist(), strict=True))
