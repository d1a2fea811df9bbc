"""Activity by hand, and a lake that it lands in, without Spark."""

import json
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from lakehouse.audit.compare import compare_all
from lakehouse.audit.declared import declared, recomputes_of
from lakehouse.audit.pins import Snapshots
from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.headers import HEADERS
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.flow import ParquetFlow, SilverFlow
from lakehouse.products.activity.tables import FLOWS
from lakehouse.products.registry import contract
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.sinks.parquet import ParquetPublisher
from tests.conftest import NOW, RULES
from tests.support.engine import auditing, connected

ACTIVITY = contract("activity")
SILVER = next(f for f in FLOWS if isinstance(f, SilverFlow))
PARQUET = next(f for f in FLOWS if isinstance(f, ParquetFlow))
DAY = "2026-11-20"


def did(clock, user="ada", what="page_view", page="/a", **more):
    """A record: what a user did at a time of the day."""
    time = f"{DAY}T{clock}{'' if clock.count(':') == 2 else ':00'}Z"
    event = {"event_time": time, "user_id": user, "page_url": page, "event_type": what, **more}
    return json.dumps(event).encode()


def decoded(values, first=0, partition=0):
    size = len(values)
    batch = pa.RecordBatch.from_pydict(
        {
            "key": pa.array([None] * size, pa.binary()),
            "value": pa.array(values, pa.binary()),
            "headers": pa.array([[]] * size, HEADERS),
            "topic": pa.array(["user_activity"] * size, pa.string()),
            "partition": pa.array([partition] * size, pa.int32()),
            "offset": pa.array(range(first, first + size), pa.int64()),
            "timestamp": pa.array([NOW] * size, pa.timestamp("us", "UTC")),
        }
    )
    return pa.Table.from_batches(decode_batch(batch, ACTIVITY, RULES), decoded_schema(ACTIVITY))


class Lake:
    """Publishers over one root; ``restart`` opens bronze again, as another process would.

    What follows it, and is there, is opened when first asked for: that takes a while.
    """

    def __init__(self, settings, silver=SILVER):
        self.settings, self.flow, self.next = settings, silver, 0
        self.restart()

    def restart(self):
        if "silver" in vars(self):
            self.silver.settle()  # a process that ended writes no more
        for name in ("parquet", "silver"):
            vars(self).pop(name, None)
        self.connection = connected(self.settings)
        self.bronze = BronzePublisher.open(ACTIVITY, self.settings, "t1", self.connection)
        if not Path(self.settings.lake.root, "silver").exists():
            _ = self.silver, self.parquet  # they make their tables

    @cached_property
    def silver(self):
        return SilverPublisher.open(self.flow, self.settings, self.connection)

    @cached_property
    def parquet(self):
        return ParquetPublisher.open(PARQUET, self.settings, self.connection)

    def land(self, *values, fold=True):
        """A batch lands; silver follows, unless told not to."""
        rows = decoded(values, self.next)
        self.next += len(values)
        landed = ArrowWriter(self.bronze).publish(rows, {0: self.next}, NOW)
        if fold:
            self.silver.catch_up()
        return landed

    def rows(self, name, columns="*", order="ALL"):
        with auditing(self.settings) as connection:
            Snapshots(self.settings.lake.root, connection).pin("t", name)
            sql = f"SELECT {columns} FROM t ORDER BY {order}"
            return connection.sql(sql).to_arrow_table().to_pylist()

    def windows(self, table="page_view_counts", more="page_url, views"):
        """Rows of a table of windows, as tuples: start and end by the clock, and so on."""
        self.silver.persist()
        clock = "strftime({} AT TIME ZONE 'UTC', '%H:%M')"
        columns = f"{clock.format('window_start')} AS s, {clock.format('window_end')} AS e, {more}"
        found = self.rows(f"silver.activity_{table}", f"{columns}, is_final")
        return [tuple(row.values()) for row in found]

    def sessions(self):
        """Rows of the sessions, as tuples: user, start and end by the clock, and so on."""
        self.silver.persist()
        clock = "strftime({} AT TIME ZONE 'UTC', '%H:%M:%S')"
        columns = f"{clock.format('session_start')} AS s, {clock.format('session_end')} AS e"
        found = self.rows(
            "silver.activity_user_sessions",
            f"user_id, {columns}, CAST(duration_seconds AS DOUBLE) AS d, pages, clicks, ended, "
            "is_final",
        )
        return [tuple(row.values()) for row in found]

    def audited(self):
        """What the audit finds wrong, by the product's own recompute and by its declarations."""
        self.silver.persist()
        wrong, ways = [], {}
        with auditing(self.settings) as connection:
            snapshots = Snapshots(self.settings.lake.root, connection)
            bronze = snapshots.pin("bronze", "bronze.activity")
            for found in (recomputes_of("activity"), declared(ACTIVITY, [self.flow])):
                compared = compare_all(snapshots, "activity", found, bronze, lambda _: None)
                mine = [c for c in compared if c.table in self.flow.tables]
                wrong += [c for c in mine if c.differing or c.fault or c.doubt]
                ways[found.is_declared] = {c.table for c in mine}
        assert ways[True] == {*self.flow.tables}
        assert ways[False] == ways[True] or self.flow is not SILVER
        return wrong
