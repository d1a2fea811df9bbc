"""While a flow is behind its followers take several batches at once, and miss none."""

from dataclasses import replace
from threading import Event, Thread, Timer
from types import SimpleNamespace

import pytest

from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import LakehouseError
from lakehouse.ingest.topic import Topic
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.flow import BronzeFlow, SilverFlow
from lakehouse.products.registry import flows
from lakehouse.runtime import following
from lakehouse.runtime.pipeline import Landing
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.storage.duck import connect
from lakehouse.storage.upkeep import compact
from tests.conftest import NOW, decoded, encode, sale
from tests.support.audited import Kafka, proof
from tests.support.lake import Lake


@pytest.fixture
def landing(settings):
    """Bronze and silver of sales."""
    settings = settings.changed(silver={"max_rows_per_fold": 10})
    bronze = next(f for f in flows() if isinstance(f, BronzeFlow) and f.product == "sales")
    silver = [f for f in flows() if isinstance(f, SilverFlow) and f.product == "sales"]
    with connect(settings) as connection:
        opened = Landing.open(bronze, silver, settings, connection)
        opened.bronze.position.reconcile_topic(Topic("sales", "t1"))
        yield opened


def land(landing, number, *, more, rows=3):
    events = encode(*(sale(event_id=f"e{number}-{n}", order_id=f"o{number}") for n in range(rows)))
    first = sum(landing.bronze.position.ends.next.values())
    landed = ArrowWriter(landing.bronze).publish(
        decoded(events, first=first), {0: first + rows}, NOW
    )
    landing.take(replace(landed, more=more))
    return landed.version


def proved(settings, records):
    return proof(SimpleNamespace(settings=settings), Kafka(end=records)).verdict


def versions(landing):
    landing.following._settle()
    return [follower.version for follower in landing.following.followers]


def test_batches_of_a_flow_that_is_behind_are_folded_together(landing):
    for number in range(3):
        last = land(landing, number, more=True)
    assert versions(landing) == [0]
    last = land(landing, 3, more=True)  # ten rows, and more: as many as one fold takes
    assert versions(landing) == [last]
    land(landing, 4, more=True)
    last = land(landing, 5, more=False)
    assert versions(landing) == [last]


def test_a_stop_folds_what_waits(landing, settings):
    last = land(landing, 0, more=True)
    landing.persist()
    assert versions(landing) == [last]
    assert Lake(settings).rows("silver/sales_by_country")["orders"].sum() == 1


def test_what_waits_for_a_batch_that_does_not_come_is_folded(landing, monkeypatch):
    last = land(landing, 0, more=True)
    landing.publish_waiting()
    assert versions(landing) == [0]
    monkeypatch.setattr(following, "_EXPECTED", 0.0)
    landing.publish_waiting()
    assert versions(landing) == [last]


def test_a_late_event_is_in_the_ledger_soon_though_no_batch_follows_it(landing):
    ledger, wait = landing.ledger, landing.bronze.settings.silver.finer_persist_interval
    land(landing, 0, more=False)
    land(landing, 0, more=False)  # copies
    landing.publish_waiting()
    assert ledger.table.version == 0
    ledger._persisted_at -= wait.total_seconds()
    landing.publish_waiting()
    assert ledger.table.version == 1
    landing.publish_waiting()
    assert (ledger.table.version, len(ledger.table.files())) == (1, 1)


def test_a_commit_between_two_batches_that_wait(landing, settings):
    land(landing, 0, more=True)
    compact(landing.bronze.bronze)
    land(landing, 1, more=False)
    landing.persist()
    assert proved(settings, 6) is Verdict.PROVEN


def test_a_crash_before_the_fold_loses_nothing(landing, settings):
    land(landing, 0, more=True)
    lake = Lake(settings)
    lake.silver.catch_up()
    assert lake.rows("silver/sales_by_country")["orders"].sum() == 1


@pytest.fixture
def slow(monkeypatch):
    """Folds that begin only once this is set."""
    go_on, apply = Event(), SilverPublisher.apply

    def waits(self, step):
        assert go_on.wait(200)
        apply(self, step)

    monkeypatch.setattr(SilverPublisher, "apply", waits)
    return go_on


def test_bronze_lands_on_while_a_batch_is_folded(landing, slow):
    land(landing, 0, more=False)
    last = land(landing, 1, more=False)
    assert landing.following.followers[0].version == 0
    slow.set()
    assert versions(landing) == [last]


def test_bronze_gives_way_to_a_fold_unless_the_flow_is_behind(landing, slow, monkeypatch):
    monkeypatch.setattr(following, "_MOMENT", 20.0)
    Timer(0.5, slow.set).start()
    last = land(landing, 0, more=False)
    assert landing.following.followers[0].version == last
    slow.clear()
    for number in range(1, 5):  # the rows of a fold, and it is begun
        land(landing, number, more=True)
    assert landing.following.followers[0].version == last
    slow.set()
    landing.following.wait()


def test_the_end_of_a_flow_waits_for_the_fold_in_hand(landing, slow):
    """Locks are let go of after it: nobody else may write silver meanwhile."""
    last = land(landing, 0, more=False)
    thread = Thread(target=landing.following.wait)
    thread.start()
    thread.join(1)
    assert thread.is_alive()
    slow.set()
    thread.join(200)
    assert landing.following.followers[0].version == last


def test_bronze_waits_where_a_fold_could_take_no_more(landing, slow):
    def lands():
        for number in range(9):
            land(landing, number, more=False)

    thread = Thread(target=lands)
    thread.start()
    thread.join(3)
    assert thread.is_alive()
    assert landing.bronze.bronze.version < 9
    slow.set()
    thread.join(200)
    assert versions(landing) == [9]


def test_a_fold_that_fails_is_told_and_what_it_lacks_is_taken_at_the_next_start(
    landing, settings, monkeypatch
):
    def fails(self, step):
        raise LakehouseError("silver", "is out of room", "make some")

    with monkeypatch.context() as patched:
        patched.setattr(SilverPublisher, "apply", fails)
        land(landing, 0, more=False)
        landing.following._thread.join()
        with pytest.raises(LakehouseError, match="out of room"):
            landing.publish_waiting()
        land(landing, 1, more=False)
        landing.following._thread.join()
        with pytest.raises(LakehouseError, match="out of room"):
            land(landing, 2, more=False)
    landing.persist()
    lake = Lake(settings)
    lake.fold()
    assert proved(settings, 9) is Verdict.PROVEN
