"""Changes of orders by hand, and a lake that they land in, without Spark."""

import json
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from lakehouse.audit.compare import compare_all
from lakehouse.audit.declared import recomputes_of
from lakehouse.audit.pins import Snapshots
from lakehouse.audit.run import Broker, audit
from lakehouse.audit.topic import Judged
from lakehouse.ingest.decode import decode_batch, decoded_schema
from lakehouse.ingest.headers import HEADERS
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.ledger import Ledger
from lakehouse.ingest.topic import Topic
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.change import Change, Source, encode, sequence
from lakehouse.model.flow import ParquetFlow, SilverFlow
from lakehouse.products.orders.tables import FLOWS
from lakehouse.products.registry import contract
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.sinks.parquet import ParquetPublisher
from tests.conftest import NOW, RULES
from tests.support.engine import auditing, connected
from tests.support.lake import looking

ORDERS = contract("orders")
SILVER = next(f for f in FLOWS if isinstance(f, SilverFlow))
PARQUET = next(f for f in FLOWS if isinstance(f, ParquetFlow))
START = NOW - timedelta(hours=1)


def row(**changes):
    """A row of the table as the envelope carries it."""
    return {
        "order_id": 1, "customer_name": "Ada", "restaurant_name": "Kaze", "item": "Ramen",
        "amount": "12.50", "order_status": "placed", "created_at": "2026-11-20T10:00:00.5Z",
        **changes,
    }  # fmt: skip


def change(op, place, after=None, before=None, generation=1):
    """One change's record: key, value, headers."""
    ms = int((START + timedelta(seconds=place)).timestamp() * 1000)
    source = Source(
        name="orders", ts_ms=ms, snapshot="false", db="d", schema="public", table="orders",
        sequence=sequence(generation, place, 0), txId=place, lsn=place,
    )  # fmt: skip
    value = encode(Change(op=op, before=before, after=after, source=source, ts_ms=ms))
    key = (after or before or {}).get("order_id")
    return json.dumps({"order_id": key}).encode(), value, []


def tombstone(order_id, place):
    header = {"key": "sequence", "value": sequence(1, place, 0).encode()}
    return json.dumps({"order_id": order_id}).encode(), None, [header]


def decoded(records, first=0):
    size = len(records)
    keys, values, headers = zip(*records, strict=True) if records else ((), (), ())
    batch = pa.RecordBatch.from_pydict(
        {
            "key": pa.array(keys, pa.binary()),
            "value": pa.array(values, pa.binary()),
            "headers": pa.array(headers, HEADERS),
            "topic": pa.array(["orders"] * size, pa.string()),
            "partition": pa.array([0] * size, pa.int32()),
            "offset": pa.array(range(first, first + size), pa.int64()),
            "timestamp": pa.array([NOW] * size, pa.timestamp("us", "UTC")),
        }
    )
    return pa.Table.from_batches(decode_batch(batch, ORDERS, RULES), decoded_schema(ORDERS))


class Lake:
    """Publishers over one root; ``restart`` opens bronze again, as another process would.

    What follows it, and is there, is opened when first asked for: that takes a while.
    """

    def __init__(self, settings, flow=SILVER, recomputes=None):
        self.settings, self.next, self.flow = settings, 0, flow
        self.recomputes = recomputes or recomputes_of("orders")
        self.restart()

    def restart(self):
        if "silver" in vars(self):
            self.silver.settle()  # a process that ended writes no more
        for name in ("parquet", "silver"):
            vars(self).pop(name, None)
        self.connection = connected(self.settings)
        self.bronze = BronzePublisher.open(ORDERS, self.settings, "t1", self.connection)
        if not Path(self.settings.lake.root, "silver").exists():
            _ = self.silver, self.parquet  # they make their tables

    @cached_property
    def silver(self):
        return SilverPublisher.open(self.flow, self.settings, self.connection)

    @cached_property
    def parquet(self):
        return ParquetPublisher.open(PARQUET, self.settings, self.connection)

    def land(self, records):
        rows = decoded(records, self.next)
        self.next += len(records)
        return ArrowWriter(self.bronze).publish(rows, {0: self.next}, NOW)

    def catch_up(self):
        self.silver.catch_up()
        self.parquet.catch_up()

    def rows(self, name, columns="*", order="ALL"):
        with auditing(self.settings) as connection:
            Snapshots(self.settings.lake.root, connection).pin("t", name)
            sql = f"SELECT {columns} FROM t ORDER BY {order}"
            return connection.sql(sql).to_arrow_table().to_pylist()

    def files(self, columns="*"):
        found = sorted(str(p) for p in self.parquet.folder.glob("date=*/*.parquet"))
        if not found:
            return []
        return (
            looking()
            .cursor()
            .sql(f"SELECT {columns} FROM read_parquet({found!r}) ORDER BY ALL")
            .fetchall()
        )

    def audited(self):
        """What the audit's own recompute finds wrong."""
        with auditing(self.settings) as connection:
            snapshots = Snapshots(self.settings.lake.root, connection)
            bronze = snapshots.pin("bronze", "bronze.orders")
            found = compare_all(snapshots, "orders", self.recomputes, bronze, lambda _: None)
        return [c for c in found if c.differing or c.fault or c.doubt or c.behind]


def two_versions(settings):
    """A lake with two versions of bronze, both in silver, Parquet and the ledger."""
    lake = Lake(settings)
    lake.land([change("c", 1, row()), change("c", 2, row(order_id=2, amount="7.25"))])
    lake.catch_up()
    lake.land([change("u", 3, row(amount="9")), change("d", 4, before=row(order_id=2))])
    lake.catch_up()
    lake.silver.persist()
    late = Ledger.at_bronze("orders", settings, lake.connection)
    late.catch_up()
    late.persist()
    return lake


def proven(lake):
    """An audit of the lake, whose topic ends where the lake does."""

    def judge(gaps):
        return (Judged(gap, gap.next - gap.first, 0, ()) for gap in gaps)

    broker = Broker(lambda: Topic("orders", "t1", {0: (0, lake.next)}), judge)
    return audit("orders", lake.settings, broker, datetime.now(UTC), lambda _: None)
