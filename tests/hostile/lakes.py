"""Small lakes whose every table holds rows, and brokers that have forgotten every record."""

from __future__ import annotations

from pathlib import Path

from lakehouse.audit.run import Broker
from lakehouse.ingest.ledger import Ledger
from lakehouse.ingest.topic import Topic
from lakehouse.operations.erase import erase
from tests.conftest import NOW, encode, sale, settings_at
from tests.support.audited import Kafka, events, late_events
from tests.support.lake import Lake
from tests.support.orders import Lake as OrdersLake
from tests.support.orders import change, row, tombstone


def sales(root: Path) -> Broker:
    """Sales in bronze, quarantine, ledger and erased, and silver of them."""
    lake = Lake(settings_at(root))
    lake.land(events(), 0)
    lake.land(late_events(), 7)
    lake.land(encode(sale(event_id="gone", client_id="c9", order_id="o9")), 10)
    lake.persist()
    erase("c9", "sales", lake.settings, NOW)
    return Kafka(beginning=11, end=11).broker()


def orders(root: Path) -> Broker:
    """Changes of orders in bronze, quarantine and ledger, and silver of them."""
    lake = OrdersLake(settings_at(root))
    ledger = Ledger.at_bronze("orders", lake.settings, lake.connection)
    first, second = row(), row(order_id=2, customer_name="Bo", item="Udon", amount="3.1")
    ready = {**first, "order_status": "ready"}
    ledger.take_batch(lake.land([change("c", 1, first), change("c", 2, second), (b"k", b"{", [])]))
    more = [change("u", 3, ready, first), change("d", 4, None, second), tombstone(2, 4)]
    ledger.take_batch(lake.land([*more, change("c", 1, first)]))
    lake.fold()
    lake.parquet.catch_up()
    lake.parquet.persist()
    ledger.persist()
    return Broker(lambda: Topic("orders", "t1", {0: (7, 7)}), Kafka().judge)


LAKES = {"sales": sales, "orders": orders}
