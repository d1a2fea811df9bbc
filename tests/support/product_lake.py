"""A lake of one product that records land in by hand, without Spark, and an audit of it."""

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from lakehouse.audit.pins import Snapshots
from lakehouse.audit.run import Broker, audit
from lakehouse.audit.topic import Judged
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.topic import Topic
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.sinks.parquet import ParquetPublisher
from tests.conftest import NOW
from tests.support.engine import auditing, connected


class ProductLake:
    """Publishers over one root; ``restart`` opens bronze again, as another process would.

    What follows it, and is there, is opened when first asked for: that takes a while.
    """

    def __init__(self, settings, contract, silver, parquet):
        self.settings, self.contract, self.next = settings, contract, 0
        self.flow, self.parquet_flow = silver, parquet
        self.restart()

    def restart(self):
        if "silver" in vars(self):
            self.silver.settle()  # a process that ended writes no more
        for name in ("parquet", "silver"):
            vars(self).pop(name, None)
        self.connection = connected(self.settings)
        self.bronze = BronzePublisher.open(self.contract, self.settings, "t1", self.connection)
        if not Path(self.settings.lake.root, "silver").exists():
            _ = self.silver, self.parquet  # they make their tables

    @cached_property
    def silver(self):
        return SilverPublisher.open(self.flow, self.settings, self.connection)

    @cached_property
    def parquet(self):
        return ParquetPublisher.open(self.parquet_flow, self.settings, self.connection)

    def land_rows(self, rows):
        self.next += rows.num_rows
        return ArrowWriter(self.bronze).publish(rows, {0: self.next}, NOW)

    def fold(self):
        """Silver takes what has landed, and its tables have all of it."""
        self.silver.catch_up()
        self.silver.persist()

    def rows(self, name, columns="*", order="ALL"):
        return rows(self.settings, name, columns, order)


def rows(settings, name, columns, order):
    """A table's rows, as an audit reads them."""
    with auditing(settings) as connection:
        Snapshots(settings.lake.root, connection).pin("t", name)
        sql = f"SELECT {columns} FROM t ORDER BY {order}"
        return connection.sql(sql).to_arrow_table().to_pylist()


def proof_of(product, settings, end, *content):
    """An audit of a lake, whose topic ends where the lake does."""

    def judge(gaps):
        return (Judged(gap, gap.next - gap.first, 0, ()) for gap in gaps)

    topic = settings.product(product).topic
    broker = Broker(lambda: Topic(topic, "t1", {0: (0, end)}), judge)
    return audit(product, settings, broker, datetime.now(UTC), lambda _: None, *content)
