"""Bronze and silver without Spark: crashes, retries, any order, any batching, any copies."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.core.errors import TableDamaged, TableLocked
from lakehouse.core.lock import write_locks
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.products.registry import load_settings
from tests.conftest import NOW, decoded, drawn, encode, sale
from tests.support.events import EVENT
from tests.support.lake import Lake, assert_silver_is_a_function_of_bronze


@pytest.fixture
def lake(settings):
    return Lake(settings)


def test_every_record_ends_in_one_place_once(lake):
    lake.land([*encode(sale(event_id="a")), b"{", *encode(sale(event_id="b"))], 0)
    assert sorted(lake.rows("bronze/sales")["offset"]) == [0, 2]
    assert list(lake.rows("quarantine/sales")["offset"]) == [1]


@pytest.mark.parametrize("before", [0, 1])
def test_a_batch_of_offsets_without_a_record_moves_the_ends(lake, before):
    """Markers and aborted records have offsets, and are given to nobody."""
    lake.land(encode(*[sale()] * before), 0)
    ArrowWriter(lake.bronze).publish(decoded([]), {0: 7}, NOW)
    lake.restart()
    assert lake.bronze.position.ends.next == {0: 7}
    assert len(lake.rows("bronze/sales")) == before


def test_a_batch_run_again_is_cut_at_the_ends(lake):
    lake.land(encode(sale(event_id="a"), sale(event_id="b")), 0)
    lake.restart()
    lake.land(encode(sale(event_id="a"), sale(event_id="b"), sale(event_id="c")), 0)
    assert sorted(lake.rows("bronze/sales")["event_id"]) == ["a", "b", "c"]


def test_a_crash_between_quarantine_and_bronze_doubles_nothing(lake):
    values = [b"{", *encode(sale(event_id="a")), b"["]
    before = Path(lake.bronze.bronze.uri)
    shutil.copytree(before, before.with_name("kept"))
    lake.land(values, 0)
    shutil.rmtree(before)
    before.with_name("kept").rename(before)  # quarantine committed, bronze did not
    lake.restart()
    lake.land(values, 0)
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [0, 2]
    assert list(lake.rows("bronze/sales")["offset"]) == [1]


def test_ends_are_found_in_the_rows_when_the_log_has_none(lake):
    lake.land(encode(sale(event_id="a"), sale(event_id="b")), 0)
    assert lake.bronze.tables.ends_from_rows("t1").next == {0: 2}


def test_a_topic_rebuilt_is_refused(lake):
    lake.land(encode(sale()), 0)
    with pytest.raises(TableDamaged, match="recreated"):
        lake.restart(topic_id="t2")


def test_a_cut_last_commit_is_found_at_start(lake):
    lake.land(encode(sale()), 0)
    log = sorted(Path(lake.bronze.bronze.uri, "_delta_log").glob("*.json"))[-1]
    log.write_bytes(b"")
    with pytest.raises(TableDamaged, match="is cut"):
        lake.restart()


def test_copies_are_marked_across_batches_and_restarts(lake):
    lake.land(encode(sale(event_id="a"), sale(event_id="a")), 0)
    lake.restart()
    lake.land(encode(sale(event_id="a"), sale(event_id="b")), 2)
    far = [NOW + timedelta(hours=2)]
    lake.land(encode(sale(event_id="a")), 4, times=far)
    rows = lake.rows("bronze/sales").sort_values("offset")
    assert list(rows["is_duplicate"]) == [False, True, True, False, False]


def test_late_is_older_than_the_committed_watermark(lake):
    lake.land(encode(sale(event_id="a", event_time="2026-11-20T11:00:00Z")), 0)
    times = ["2026-11-20T10:49:59Z", "2026-11-20T10:50:00Z"]
    lake.land(encode(*[sale(event_id=t, event_time=t) for t in times]), 1)
    rows = lake.rows("bronze/sales").sort_values("offset")
    assert list(rows["is_late"]) == [False, True, False]


def test_one_writer_a_table(tmp_path):
    with (
        write_locks(tmp_path, ["bronze.sales"], "one", timedelta(0)),
        pytest.raises(TableLocked, match="is being written by one, process"),
        write_locks(tmp_path, ["bronze.sales"], "two", timedelta(0)),
    ):
        pass


STEP = st.sampled_from(["fold", "lag", "restart", "persist"])


@drawn(3)
@given(st.lists(st.tuples(st.lists(EVENT, min_size=1, max_size=6), STEP), min_size=1, max_size=5))
def test_silver_is_the_same_in_any_order_batching_and_with_any_copies(steps):
    config = Path(__file__).parents[2] / "config.ini"
    with tempfile.TemporaryDirectory() as root:
        lake = Lake(load_settings(config).with_root(Path(root)))
        first = 0
        for events, step in steps:
            landed = lake.land(encode(*events), first)
            first += len(events)
            if step == "fold" and lake.silver.version == landed.version - 1:
                lake.silver.take(landed.version - 1, landed.version, landed.rows)
            if step == "restart":
                lake.restart()
                lake.silver.catch_up()
            if step == "persist":
                lake.fold()
        lake.silver.catch_up()
        assert_silver_is_a_function_of_bronze(lake)
        lake.restart()
        lake.silver.catch_up()
        assert_silver_is_a_function_of_bronze(lake)


def test_a_crash_in_the_middle_of_silver_is_completed(lake):
    """One table took the version, the others did not: the restart levels them."""
    lake.land(encode(sale(event_id="a"), sale(event_id="b", order_id="o2")), 0)
    lake.fold()
    path = Path(lake.silver.tables["by_client"].uri)
    shutil.copytree(path, path.with_name("kept"))
    lake.land(encode(sale(event_id="c", country="France"), sale(event_id="d", client_id="c2")), 2)
    lake.silver.catch_up()
    shutil.rmtree(path)
    path.with_name("kept").rename(path)
    lake.restart()
    assert len({one.version for one in lake.silver.applied.values()}) == 2
    lake.silver.catch_up()
    assert_silver_is_a_function_of_bronze(lake)


def test_silver_is_folded_again_when_the_log_has_gone(lake):
    lake.land(encode(sale(event_id="a")), 0)
    lake.land(encode(sale(event_id="b", order_id="o2")), 1)
    table = DeltaTable(lake.bronze.bronze.uri)
    table.create_checkpoint()
    folder = Path(lake.bronze.bronze.uri)
    for version in (1, 2):
        Path(folder, "_delta_log", f"{version:020}.json").rename(Path(folder, f"{version}.gone"))
    lake.silver.catch_up(2)
    assert_silver_is_a_function_of_bronze(lake)


def test_plans_of_the_look_back_do_not_pile_up(settings):
    lake = Lake(settings)
    counts = []
    for n in range(6):  # one order goes on and on, in another currency each time
        rows = sale(event_id=f"e{n}", currency=["EUR", "USD", "GBP", "CHF", "SEK", "PLN"][n])
        lake.land(encode(rows), n)
        lake.fold()
        orders = lake.silver._state._kinds["orders"]
        held = "SELECT count(*) FROM duckdb_prepared_statements()"
        counts.append(orders._connection.execute(held).fetchall()[0][0])
    assert counts[2:] == [counts[2]] * 4, counts
    assert_silver_is_a_function_of_bronze(lake)
