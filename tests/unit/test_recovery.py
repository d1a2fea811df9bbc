"""Tables that went back, were cut or lost files: found, told, mended; nothing lost or doubled."""

import shutil
from datetime import UTC, datetime

import pytest
from deltalake import DeltaTable

from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import TableDamaged
from lakehouse.ingest.ends import EXPIRED, RECREATED, ROLLED_BACK
from tests.conftest import long
from tests.support.audited import Kafka
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze, left_alone
from tests.support.recovered import (
    GOOD,
    VALUES,
    assert_proven,
    events,
    go_on,
    proof,
    topic,
    uri,
)


@pytest.fixture
def lake(recovered_root, settings):
    return left_alone(recovered_root, settings)


# A table that was restored to an older version


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("bronze.sales", 0),
        ("quarantine.sales", 2),
        ("silver.sales_by_country", 0),
        *long(("bronze.sales", 2), ("quarantine.sales", 0), ("silver.sales_by_country", 2)),
    ],
)
def test_a_table_restored_to_an_older_version_is_brought_forward(lake, name, version):
    DeltaTable(uri(lake, name)).restore(version)
    go_on(lake)
    assert_proven(lake)


def test_a_table_restored_by_time_and_then_forward_again(lake):
    table = DeltaTable(uri(lake, "bronze.sales"))
    times = {commit["version"]: commit["timestamp"] for commit in table.history()}
    table.restore(datetime.fromtimestamp(times[1] / 1000, UTC))
    table.restore(2)
    lake.restart()
    assert lake.bronze.position.ends.next == {0: 8}
    go_on(lake)
    assert_proven(lake)


@pytest.mark.parametrize(
    ("writes_on", "name"),
    [
        (False, "bronze"),
        (False, "quarantine"),
        (False, "silver"),
        (True, "bronze"),
        *long((True, "quarantine"), (True, "silver")),
    ],
)
def test_a_folder_copied_back_from_before_is_brought_forward(lake, tmp_path, name, writes_on):
    """By hand, without a RESTORE: versions come again, with other commits."""
    before = Lake(lake.settings.with_root(tmp_path / "before"))
    shutil.rmtree(before.settings.lake.root)
    shutil.copytree(lake.settings.lake.root, before.settings.lake.root)
    later = events(12, 4, bad={13})
    go_on(lake, upto=16, values=VALUES + later)
    shutil.rmtree(uri(lake, name))
    shutil.copytree(uri(before, name), uri(lake, name))
    if writes_on:  # bronze alone, silver comes later: another commit under the same version
        lake.restart(topic_id=None)
        lake.bronze.position.reconcile_topic(topic(after=16))
        start = lake.bronze.position.ends.next[0]
        for offset in range(start, 16):
            lake.land((VALUES + later)[offset : offset + 1], offset)
    go_on(lake, upto=16, values=VALUES + later)
    found = proof(lake, Kafka(end=16))
    assert (found.faults, found.doubts) == ((), ())
    assert found.account.total("bronze") + found.account.total("quarantine") == 16
    assert_silver_is_a_function_of_bronze(lake)


@pytest.mark.parametrize("table", ["quarantine.sales", "bronze.sales"])
def test_a_table_removed_is_read_again(lake, table):
    shutil.rmtree(uri(lake, table))
    go_on(lake)
    assert_proven(lake)


def test_records_of_a_quarantine_that_went_back_may_have_expired(lake):
    DeltaTable(uri(lake, "quarantine.sales")).restore(1)
    with pytest.raises(TableDamaged, match=r"offsets 4 to 6 \(1 offsets\)"):
        go_on(lake, first=7)
    lake.restart(topic_id=None)
    lost = lake.bronze.position.accept(topic(first=7))
    assert [(gap.kind, gap.first, gap.next, gap.offsets) for gap in lost] == [(EXPIRED, 4, 7, 1)]
    go_on(lake, first=7)
    found = proof(lake, Kafka(end=12, beginning=7))
    assert (found.faults, found.doubts) == ((), ())
    assert found.account.partitions[0].accepted == 1
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [2, 9]


# A topic that goes on elsewhere


def test_expired_offsets_are_refused_until_accepted(lake):
    values = VALUES + events(12, 10)
    with pytest.raises(TableDamaged, match="partition 0: expired: offsets 12 to 16") as refused:
        go_on(lake, upto=22, first=17, values=values)
    assert f"lakehouse accept-gap sales --root {lake.settings.lake.root}" in str(refused.value)
    lake.restart(topic_id=None)
    assert [gap.offsets for gap in lake.bronze.position.accept(topic(17, 22))] == [5]
    assert lake.bronze.position.accept(topic(17, 22)) == ()
    go_on(lake, upto=22, first=17, values=values)
    found = proof(lake, Kafka(end=22, beginning=17))
    assert found.verdict is Verdict.PROVEN
    assert found.account.partitions[0].accepted == 5
    assert found.account.lost[0]["offsets"] == 5


def test_a_loss_beside_an_accepted_gap_is_still_missing(lake):
    values = VALUES + events(12, 10)
    lake.bronze.position.accept(topic(17, 22))
    go_on(lake, upto=22, first=17, values=values)
    DeltaTable(uri(lake, "bronze.sales")).delete('"offset" in (11, 18)')
    found = proof(lake, Kafka(end=22, beginning=17))
    part = found.account.partitions[0]
    assert (part.accepted, part.expired, part.missing) == (5, 1, 1)


def test_what_a_crash_left_in_quarantine_is_no_gap(lake, tmp_path):
    """Quarantine committed offsets 12 to 14, bronze did not; then they expired."""
    shutil.copytree(uri(lake, "bronze.sales"), tmp_path / "kept")
    lake.land([b"{", b"[", b"1"], 12)
    shutil.rmtree(uri(lake, "bronze.sales"))
    shutil.copytree(tmp_path / "kept", uri(lake, "bronze.sales"))
    go_on(lake, upto=17, first=15, values=VALUES + [b""] * 3 + events(15, 2))
    found = proof(lake, Kafka(end=17, beginning=15))
    assert (found.faults, found.doubts, found.account.lost) == ((), (), ())


def test_a_topic_rebuilt_is_refused_and_then_goes_on(lake):
    anew = events(100, 7, bad={102})
    with pytest.raises(TableDamaged, match="topic recreated: what it held from offset 12 on"):
        go_on(lake, upto=7, id_="t2", values=anew)
    lake.restart(topic_id=None)
    assert [gap.kind for gap in lake.bronze.position.accept(topic(0, 7, "t2"))] == [RECREATED]
    go_on(lake, upto=7, id_="t2", values=anew)
    lake.restart(topic_id="t2")
    anew = [0, 1, 3, 4, 5, 6]
    assert sorted(lake.rows("bronze/sales")["offset"]) == sorted([*GOOD, *anew])
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [2, 2, 5, 9]
    found = proof(lake, Kafka(end=7, topic_id="t2"))
    assert (found.faults, found.doubts) == ((), ())
    assert (found.account.total("bronze"), found.account.former) == (6, 12)
    assert found.account.lost[0]["why"] == RECREATED
    DeltaTable(uri(lake, "bronze.sales")).delete("event_id = 'e104'")
    found = proof(lake, Kafka(end=7, topic_id="t2"))
    assert found.account.missing == ({"partition": 0, "offset": 4},)


def test_leftovers_of_the_former_topic_do_not_cut_the_new_one(lake, tmp_path):
    shutil.copytree(uri(lake, "bronze.sales"), tmp_path / "kept")
    lake.land([b"{", b"["], 12)
    shutil.rmtree(uri(lake, "bronze.sales"))
    shutil.copytree(tmp_path / "kept", uri(lake, "bronze.sales"))
    lake.restart(topic_id=None)
    lake.bronze.position.accept(topic(0, 20, "t2"))
    go_on(lake, upto=20, id_="t2", values=events(100, 20, bad={113}))
    found = proof(lake, Kafka(end=20, topic_id="t2"))
    assert (found.faults, found.doubts) == ((), ())
    assert (found.account.total("bronze"), found.account.total("quarantine")) == (19, 1)
    assert found.account.former == 14


def test_a_topic_rebuilt_twice_and_expired_from_its_start(lake):
    for id_, first in (("t2", 3), ("t3", 0)):
        lake.restart(topic_id=None)
        lake.bronze.position.accept(topic(first, 9, id_))
        go_on(lake, upto=9, first=first, id_=id_, values=events(ord(id_[1]) * 100, 9))
    kinds = [gap.kind for gap in lake.bronze.position.ends.lost]
    assert kinds == [RECREATED, EXPIRED, RECREATED]
    found = proof(lake, Kafka(end=9, topic_id="t3"))
    assert (found.faults, found.doubts) == ((), ())
    assert (found.account.total("bronze"), found.account.former) == (9, 18)


def test_a_topic_that_lost_its_end_is_refused_and_then_goes_on(lake):
    """The broker lost offsets 10 and 11: other records come there."""
    values = VALUES[:10] + events(200, 4)
    with pytest.raises(TableDamaged, match="topic rolled back"):
        go_on(lake, upto=10, values=values)
    lake.restart(topic_id=None)
    assert [gap.kind for gap in lake.bronze.position.accept(topic(0, 10))] == [ROLLED_BACK]
    go_on(lake, upto=14, values=values)
    found = proof(lake, Kafka(end=14))
    assert (found.faults, found.doubts) == ((), ())
    assert (found.account.total("bronze"), found.account.former) == (11, 2)


def test_ends_from_rows_know_the_topic_that_was_accepted(lake):
    lake.restart(topic_id=None)
    lake.bronze.position.accept(topic(0, 4, "t2"))
    lake.land(events(100, 4), 0)
    assert lake.bronze.tables.ends_from_rows("t2").next == {0: 4}


def test_a_topic_of_another_name_is_refused(lake):
    lake.settings = lake.settings.changed(sales={"topic": "other"})
    with pytest.raises(TableDamaged, match=r"set \[sales\] topic = sales"):
        lake.restart()
