"""Tables that went back behind a replay or an erasure, or whose topic was recreated since."""

import shutil

import pytest
from deltalake import DeltaTable

from lakehouse.ingest.replay import finish
from lakehouse.operations.erase import erase
from lakehouse.operations.quarantine import Choice
from lakehouse.operations.replay_quarantine import replay
from tests.conftest import NOW, encode, sale, settings_at
from tests.support.audited import Kafka
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze, copied, left_alone
from tests.support.quarantined import cured
from tests.support.recovered import (
    GOOD,
    VALUES,
    events,
    go_on,
    proof,
    topic,
    uri,
)


@pytest.fixture
def lake(recovered_root, settings):
    return left_alone(recovered_root, settings)


# A replay, and tables that went back after it


def curable(first, count):
    """Records that broke the contract and pass once [sales] earliest is earlier."""
    times = {"event_time": "1999-06-01T10:00:00Z"}
    numbers = range(first, first + count)
    return encode(*[sale(event_id=f"old{n}", order_id=f"p{n}", **times) for n in numbers])


@pytest.fixture(scope="module")
def replayed_root(recovered_root, tmp_path_factory):
    """Of a lake whose offsets 12 and 13 were quarantined, and then replayed into bronze."""
    lake = copied(recovered_root, settings_at(tmp_path_factory.mktemp("replayed") / "lake"))
    lake.land(curable(12, 2), 12)
    lake.fold()
    assert replay("sales", cured(lake.settings), Choice(), NOW).entered == 2
    return lake.settings.lake.root


@pytest.fixture
def replayed(replayed_root, settings):
    return left_alone(replayed_root, cured(settings))


def go_on_replayed(lake, values=None):
    """As :func:`go_on`, and the marks are brought level, as the flow does at its start."""
    values = values or VALUES + [b"{"] * 2
    lake.restart(topic_id=None)
    finish(lake.bronze, NOW)
    lake.bronze.position.refuse(lake.bronze.position.reconcile_topic(topic(after=14)))
    start = lake.bronze.position.ends.next.get(0, 0)
    if start < 14:
        lake.land(values[start:14], start)
    lake.fold()


@pytest.mark.parametrize(
    ("name", "version", "found_in"),
    [("bronze", 4, "quarantine"), ("bronze", 2, "quarantine"), ("quarantine", 4, "bronze")],
)
def test_marks_fit_a_table_that_went_back_behind_a_replay(replayed, name, version, found_in):
    DeltaTable(uri(replayed, f"{name}.sales")).restore(version)
    go_on_replayed(replayed)
    found = proof(replayed, Kafka(end=14))
    assert (found.faults, found.doubts) == ((), ())
    assert found.account.total(found_in) == {"bronze": 11, "quarantine": 5}[found_in]
    assert_silver_is_a_function_of_bronze(replayed)
    if found_in == "quarantine":
        assert replay("sales", replayed.settings, Choice(), NOW).entered == 2
        go_on_replayed(replayed)
    assert proof(replayed, Kafka(end=14)).account.total("bronze") == 11


def test_a_record_of_a_former_topic_is_not_taken_for_another_at_its_address(lake):
    lake.land(curable(12, 1), 12)
    lake.restart(topic_id=None)
    lake.bronze.position.accept(topic(0, 14, "t2"))
    values = [*events(100, 12), *curable(50, 1), *events(113, 1)]
    lake.restart(topic_id="t2")
    lake.land(values, 0)
    lake.fold()
    lake.settings = cured(lake.settings)
    assert replay("sales", lake.settings, Choice(), NOW).entered == 1
    lake.restart(topic_id="t2")
    lake.fold()
    marks = lake.rows("quarantine/sales").sort_values("batch_id")
    assert list(marks["offset"][marks["replayed_version"].notna()]) == [12]
    assert marks["batch_id"][marks["replayed_version"].notna()].iloc[0] == marks["batch_id"].max()
    found = proof(lake, Kafka(end=14, topic_id="t2"))
    assert (found.faults, found.doubts) == ((), ())
    assert (found.account.total("bronze"), found.account.former) == (14, 13)


# An erasure, and tables that went back or a topic that was recreated after it


def test_erased_records_do_not_come_back_when_bronze_is_read_again(lake):
    lake.land(encode(sale(event_id="gone", client_id="c9"), sale(event_id="stays")), 12)
    erase("c9", "sales", lake.settings, NOW)
    assert sorted(lake.rows("bronze/sales")["offset"]) == [*GOOD, 13]
    shutil.rmtree(uri(lake, "bronze.sales"))  # all of it is read from Kafka again
    again = Lake(lake.settings)
    values = VALUES + encode(sale(event_id="gone", client_id="c9"), sale(event_id="stays"))
    go_on(again, upto=14, values=values)
    assert sorted(again.rows("bronze/sales")["offset"]) == [*GOOD, 13]
    found = proof(again, Kafka(end=14))
    assert (found.faults, found.doubts) == ((), ())


def test_an_erased_address_of_a_former_topic_is_another_record_now(lake):
    lake.land(encode(sale(event_id="gone", client_id="c9")), 12)
    erase("c9", "sales", lake.settings, NOW)
    lake.restart(topic_id=None)
    lake.bronze.position.accept(topic(0, 14, "t2"))
    go_on(lake, upto=14, id_="t2", values=events(100, 14))
    found = proof(lake, Kafka(end=14, topic_id="t2"))
    assert (found.faults, found.doubts) == ((), ())
    assert found.account.total("bronze") == 14
    DeltaTable(uri(lake, "bronze.sales")).delete("event_id = 'e112'")
    found = proof(lake, Kafka(end=14, topic_id="t2"))
    assert found.account.missing == ({"partition": 0, "offset": 12},)


def test_an_erasure_leaves_the_other_record_of_an_address(lake):
    """A copy at offset 3 of the former topic, another's record at offset 3 of the new one."""
    lake.land(encode(sale(event_id="m", client_id="c9"), sale(event_id="m", client_id="c1")), 12)
    lake.restart(topic_id=None)
    lake.bronze.position.accept(topic(0, 14, "t2"))
    go_on(lake, upto=14, id_="t2", values=events(100, 14))
    erase("c9", "sales", lake.settings, NOW)
    rows = lake.rows("bronze/sales")
    assert sorted(rows["offset"]) == sorted([*GOOD, *range(14)])
    assert "m" not in set(rows["event_id"])
