"""Two products that land at once in one process: neither sees the other's rows."""

from concurrent.futures import ThreadPoolExecutor

from lakehouse.ingest.topic import Topic
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.flow import BronzeFlow, ParquetFlow
from lakehouse.products.registry import flows
from lakehouse.runtime.pipeline import Landing
from lakehouse.storage.duck import connect
from tests.conftest import NOW, decoded, encode, sale
from tests.support import orders
from tests.support.lake import Lake

BATCHES = 20


def land(landing, batches):
    """Publish decoded batches as a landing thread does, each to its next offsets."""
    name = landing.bronze.product.topic
    landing.bronze.position.refuse(landing.bronze.position.reconcile_topic(Topic(name, "t1")))
    first = 0
    for rows in batches:
        first += rows.num_rows
        landing.take(ArrowWriter(landing.bronze).publish(rows, {0: first}, NOW))
    landing.persist()


def sales():
    """Each batch has a late event and a copy, so that every look-up has something to find."""
    for n in range(BATCHES):
        late = sale(event_id=f"l{n}", order_id=f"o{n}", event_time="2026-11-19T10:00:00Z")
        new = sale(event_id=f"e{n}", order_id=f"o{n // 2}", client_id=f"c{n % 5}")
        yield decoded(encode(new, new, late), first=3 * n)


def changes():
    for n in range(BATCHES):
        created = orders.change("c", 2 * n, orders.row(order_id=n))
        yield orders.decoded([created, created], first=2 * n)


def test_sales_and_orders_land_at_once(settings):
    """Bronze is compacted after each batch, so that the ledgers read its log and rows again."""
    settings = settings.changed(maintenance={"compact_after_commits": 1}, publish={"fsync": False})
    with connect(settings) as connection:
        bronze = {f.product: f for f in flows() if isinstance(f, BronzeFlow)}
        parquet = [f for f in flows() if isinstance(f, ParquetFlow) and f.product == "orders"]
        landings = [
            Landing.open(bronze["sales"], [], settings, connection),
            Landing.open(bronze["orders"], parquet, settings, connection),
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(land, landings, (sales(), changes())))
    lake = Lake(settings)
    rows = lake.rows("bronze/sales")
    assert sorted(rows["offset"]) == list(range(3 * BATCHES))
    assert rows["is_duplicate"].sum() == BATCHES
    assert rows["is_late"].sum() == BATCHES - 1  # before the first batch there is no watermark
    ledger = lake.rows("ledger/sales")
    assert (sum(ledger["late"]), sum(ledger["duplicates"])) == (BATCHES - 1, BATCHES)
    ordered = orders.Lake(settings)
    copies = [row["is_duplicate"] for row in ordered.rows("bronze.orders")]
    assert (len(copies), sum(copies)) == (2 * BATCHES, BATCHES)
    assert len(ordered.files()) == BATCHES
