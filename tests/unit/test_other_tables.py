"""Another table in the place of one beside bronze, and forged ends: never proven."""

import json
import shutil
from datetime import timedelta

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.core import failpoint
from lakehouse.core.errors import TableDamaged
from lakehouse.core.failpoint import Step
from lakehouse.ingest.erased import ErasedLedger
from lakehouse.ingest.topic import Topic
from lakehouse.operations.rebuild import rebuild, silver_flow
from tests.conftest import NOW, settings_at
from tests.support.audited import Kafka, events, late_events, path, proof, says
from tests.support.lake import Lake, copied

VALUES = [*events(), *late_events()]


@pytest.fixture
def lake(audited_root, settings):
    return copied(audited_root, settings)


@pytest.fixture
def other(tmp_path):
    """Another lake of the same topic, whose records had other bytes."""
    lake = Lake(settings_at(tmp_path / "other"))
    lake.land([*events()[:3], b"forged", *events()[4:]], 0)
    return lake


def go_on(lake):
    lake.restart()
    lake.land([b"["], 10)
    lake.persist()


def exchange(lake, other, table):
    shutil.rmtree(path(lake, table), ignore_errors=True)
    shutil.copytree(path(other, table), path(lake, table))


def test_a_quarantine_of_another_lake_is_refused_and_never_proven(lake, other):
    exchange(lake, other, "quarantine/sales")
    assert proof(lake).verdict is Verdict.CANNOT_TELL
    with pytest.raises(TableDamaged, match="another table") as caught:
        lake.restart()
    assert "move this one away and run sales.bronze" in caught.value.remedy


def landed_again(lake):
    lake.restart()
    assert lake.bronze.position.ends.next == {0: 0}
    lake.land(VALUES, 0)
    rebuild(silver_flow("sales"), lake.settings, lambda _: None)
    lake.restart()
    lake.ledger.persist()
    found = proof(lake)
    assert (found.verdict, found.faults, found.doubts) == (Verdict.PROVEN, (), ())


def test_once_it_is_moved_away_the_flow_makes_it_again(lake, other):
    exchange(lake, other, "quarantine/sales")
    shutil.rmtree(path(lake, "quarantine/sales"))
    landed_again(lake)
    go_on(lake)
    assert proof(lake, Kafka(end=11)).verdict is Verdict.PROVEN


def die_once_quarantine_has_its_rows(step):
    if step == Step.QUARANTINE_COMMITTED:
        raise InterruptedError


def test_a_crash_before_bronze_records_the_new_one_is_no_exchange(lake):
    shutil.rmtree(path(lake, "quarantine/sales"))
    lake.restart()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoint, "reach", die_once_quarantine_has_its_rows)
        with pytest.raises(InterruptedError):
            lake.land(VALUES, 0)
    assert DeltaTable(path(lake, "quarantine/sales")).count() == 1
    landed_again(lake)


def test_an_exchanged_ledger_of_erased_addresses_stays_in_doubt(lake, other):
    for each in (lake, other):
        ledger = ErasedLedger("sales", each.settings, each.connection)
        offset = 11 if each is other else 99
        place = {"topic": "sales", "partition": 0, "offset": offset, "batch_id": None,
                 "topic_id": "t1"}  # fmt: skip
        schema = pa.schema([ledger.table.schema.field(name) for name in place])
        ledger.add({"quarantine": pa.Table.from_pylist([place], schema)}, NOW, {"flow": "x"})
    go_on(lake)
    assert proof(lake, Kafka(end=11)).verdict is Verdict.PROVEN
    exchange(lake, other, "erased/sales")
    for _ in range(2):
        found = proof(lake, Kafka(end=lake.bronze.position.ends.next[0]))
        assert found.verdict is Verdict.CANNOT_TELL
        assert any("erased.sales: it is another table" in doubt for doubt in found.doubts)
        lake.restart()
        lake.land([b"]"], lake.bronze.position.ends.next[0])


def forge(lake, **changes):
    """A commit of bronze that says something else of its ends."""
    note = lake.bronze.bronze.last_note("ends")
    says(lake, "bronze/sales", json.dumps({"flow": "sales.bronze", "ends": note | changes}))


def test_ends_of_an_earlier_release_name_no_table_and_the_flow_goes_on(lake):
    forge(lake, tables={})
    go_on(lake)
    assert proof(lake, Kafka(end=11)).verdict is Verdict.PROVEN
    assert set(lake.bronze.position.ends.tables) == {"quarantine"}


@pytest.mark.parametrize("by", [timedelta(days=-30), timedelta(days=30)])
@pytest.mark.parametrize("flow", [lambda _: None, go_on], ids=["alone", "and a flow went on"])
def test_a_forged_newest_event_time_is_not_proven(lake, by, flow):
    newest = lake.bronze.position.ends.newest
    forge(lake, newest=(newest + by).isoformat())
    flow(lake)
    found = proof(lake, Kafka(end=lake.bronze.position.ends.next[0]))
    assert found.verdict is Verdict.NOT_PROVEN
    assert any("newest event" in fault for fault in found.faults)


def test_a_lowered_end_is_not_proven_and_doubles_nothing_unseen(lake):
    forge(lake, next={"0": 7})
    assert any("above the ends" in fault for fault in proof(lake).faults)
    lake.restart()
    lake.land(late_events(), 7)
    assert any("held more than once" in fault for fault in proof(lake).faults)


def test_an_emptied_topic_id_is_in_doubt_until_the_flow_finds_it_again(lake):
    forge(lake, topic_id="")
    assert proof(lake).verdict is Verdict.CANNOT_TELL
    lake.restart(topic_id=None)
    lake.bronze.position.refuse(
        lake.bronze.position.reconcile_topic(Topic("sales", "t1", {0: (0, 11)}))
    )
    assert lake.bronze.position.ends.next == {0: 10}
    lake.land([b"["], 10)
    lake.persist()
    assert proof(lake, Kafka(end=11)).verdict is Verdict.PROVEN
