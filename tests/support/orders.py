"""Changes of orders by hand, and a lake that they land in, without Spark."""

import json
from datetime import timedelta

from lakehouse.audit.compare import compare_all
from lakehouse.audit.declared import recomputes_of
from lakehouse.audit.pins import Snapshots
from lakehouse.ingest.ledger import Ledger
from lakehouse.model.change import Change, Source, encode, sequence
from lakehouse.model.flow import ParquetFlow, SilverFlow
from lakehouse.products.orders.tables import FLOWS
from lakehouse.products.registry import contract
from tests import conftest
from tests.conftest import NOW
from tests.support.engine import auditing
from tests.support.lake import looking
from tests.support.product_lake import ProductLake, proof_of

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
    keys, values, headers = zip(*records, strict=True) if records else ((), (), ())
    return conftest.decoded(values, ORDERS, keys=keys, headers=headers, topic="orders", first=first)


class Lake(ProductLake):
    """A lake of orders."""

    def __init__(self, settings, flow=SILVER, recomputes=None):
        self.recomputes = recomputes or recomputes_of("orders")
        super().__init__(settings, ORDERS, flow, PARQUET)

    def land(self, records):
        return self.land_rows(decoded(records, self.next))

    def catch_up(self):
        self.silver.catch_up()
        self.parquet.catch_up()

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
    return proof_of("orders", lake.settings, lake.next)
