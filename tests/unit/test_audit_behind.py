"""A table is behind bronze also where bronze lost rows or marks them again; old topics are old."""

import shutil
from pathlib import Path

import pytest

from lakehouse.audit.pins import Snapshots, count, engine
from lakehouse.audit.proof import Verdict
from lakehouse.operations.erase import erase
from lakehouse.storage.upkeep import compact, vacuum
from tests.conftest import NOW, encode, sale
from tests.support.audited import Kafka, events, late_events, proof
from tests.support.content import Topic
from tests.support.content import proof as with_content
from tests.support.lake import Lake, recreated


class Killed(BaseException):
    """Ends a verb where a kill would."""


@pytest.fixture
def lake(settings):
    lake = Lake(settings)
    lake.land(events(), 0)
    lake.land(late_events(), 7)
    lake.persist()
    return lake


def killed_before_history_goes(lake, monkeypatch):
    def kill(*_):
        raise Killed

    monkeypatch.setattr("lakehouse.operations.erase.forget_history", kill)
    with pytest.raises(Killed):
        erase("c1", "sales", lake.settings, NOW)


def test_silver_that_counts_erased_rows_is_behind(lake, monkeypatch):
    killed_before_history_goes(lake, monkeypatch)
    found = proof(lake)
    assert (found.verdict, found.faults) == (Verdict.PROVEN, ())
    assert not found.reach.is_caught_up
    assert found.headline.startswith("PROVEN so far")


def test_rows_that_landed_since_an_erasure_do_not_hide_it(lake, monkeypatch):
    killed_before_history_goes(lake, monkeypatch)
    lake.restart()
    values = encode(*[sale(event_id=f"n{n}", order_id=f"n{n}") for n in range(7)])
    lake.land(values, 10)
    lake.ledger.persist()
    found = proof(lake, Kafka(end=17))
    assert (found.verdict, found.reach.is_caught_up) == (Verdict.PROVEN, False)
    assert max(found.reach.lacking.values()) == 7


def test_compaction_alone_leaves_nobody_behind(lake):
    compact(lake.bronze.bronze)
    vacuum(lake.bronze.bronze)
    found = proof(lake)
    assert {t.behind for t in found.tables} != {0}
    assert found.reach.is_caught_up


def test_records_of_a_topic_that_is_gone_are_not_compared_with_the_new_one(settings):
    """Their batch had committed in quarantine alone when the topic was recreated."""
    lake = Lake(settings)
    before = Path(lake.bronze.bronze.uri)
    shutil.copytree(before, before.with_name("kept"))
    lake.land([b"{", b"[", b"{{", b"{{{"], 0)
    shutil.rmtree(before)
    before.with_name("kept").rename(before)
    new = [*encode(sale(event_id="n1")), *encode(sale(event_id="n2", order_id="o2"))]
    recreated(lake, new)
    found = with_content(lake, Topic(new, topic_id="t2"))
    assert (found.verdict, found.faults) == (Verdict.PROVEN, ())


def test_a_version_that_was_opened_is_not_opened_again(lake):
    with engine(lake.settings) as connection:
        snapshots = Snapshots(lake.settings.lake.root, connection)
        newest = snapshots.open("bronze.sales")
        assert snapshots.open("bronze.sales", newest.version()) is newest
        assert snapshots.opened("bronze.sales") is newest
        rows = {}
        for version in (newest.version(), newest.version(), 1):
            assert snapshots.pin("bronze_then", "bronze.sales", version).version == version
            rows[version] = count(connection, "bronze_then")
        assert snapshots.open("bronze.sales", newest.version()) is not newest
    assert rows == {newest.version(): 9, 1: 6}
