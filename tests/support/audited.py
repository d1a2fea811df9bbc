"""A broker as the audit asks one, a lake's events for it, and ways to spoil a table."""

import json

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake

from lakehouse.audit.run import Broker, audit
from lakehouse.audit.topic import Judged
from lakehouse.ingest.topic import Topic
from tests.conftest import NOW, encode, sale


def events():
    """Two clients, guests, returns, a copy, a late event and a favourite that is not the first."""
    return [
        *encode(
            sale(event_id="a", product_id="p1", quantity=1),
            sale(event_id="b", product_id="p2", quantity=3, unit_price=0.3333, order_id="o2"),
            sale(event_id="c", product_id="p2", quantity=-1, order_id="o3"),
        ),
        b"{",
        *encode(
            sale(event_id="d", client_id=None, country="France", segment="B2B", order_id="o4"),
            sale(event_id="a", product_id="p1", quantity=1),
            sale(event_id="e", client_id="c2", currency="SEK", product_name=None, order_id="o5"),
        ),
    ]


def late_events():
    return encode(
        sale(event_id="f", event_time="2026-11-20T09:59:00Z", order_id="o6"),
        sale(event_id="g", event_time="2026-10-31T23:30:00Z", order_id="o6", unit_price=7),
        sale(event_id="a", quantity=1),
    )


class Kafka:
    """A broker of committed, aborted and vanished offsets, as the audit asks one."""

    def __init__(self, end=10, beginning=0, aborted=(), markers=(), topic_id="t1"):
        self.end, self.beginning, self.aborted, self.markers = end, beginning, aborted, markers
        self.topic_id = topic_id
        self.asked = []

    def topic(self):
        return Topic("sales", self.topic_id, {0: (self.beginning, self.end)})

    def judge(self, gaps):
        for gap in gaps:
            self.asked.append(gap)
            offsets = range(gap.first, gap.next)
            found = [o for o in offsets if o not in {*self.aborted, *self.markers}]
            aborted = sum(1 for o in offsets if o in self.aborted)
            yield Judged(gap, len(found), aborted, tuple(found[:20]))

    def broker(self):
        return Broker(self.topic, self.judge)


def proof(lake, kafka=None):
    return audit("sales", lake.settings, (kafka or Kafka()).broker(), NOW, lambda _: None)


def path(lake, table):
    return f"{lake.settings.lake.root}/{table}"


def rewrite(lake, table, change):
    """Put other rows in a table's place, and leave its log as its writer left it."""
    uri = path(lake, table)
    dt = DeltaTable(uri)
    source = next(n for n in (json.loads(c.get("userMetadata") or "{}") for c in dt.history()) if n)
    rows = change(dt.to_pyarrow_table())
    write_deltalake(
        dt, rows, mode="overwrite",
        commit_properties=CommitProperties(custom_metadata={"userMetadata": json.dumps(source)}),
    )  # fmt: skip


def without(lake, table, predicate):
    DeltaTable(path(lake, table)).delete(predicate)


def put(column, where, value):
    """A change that sets one column where another has a value."""

    def change(rows):
        name, wanted = where
        here = pc.equal(rows[name], pa.scalar(wanted, rows.schema.field(name).type))
        new = pc.if_else(
            pc.fill_null(here, False), pa.scalar(value, rows.schema.field(column).type),
            rows[column],
        )  # fmt: skip
        return rows.set_column(rows.schema.get_field_index(column), rows.schema.field(column), new)

    return change


def says(lake, table, text):
    """A commit of another program that changes no row."""
    DeltaTable(path(lake, table)).alter.set_table_properties(
        {"owner": "them"}, raise_if_not_exists=False,
        commit_properties=CommitProperties({"userMetadata": text}),
    )  # fmt: skip
