"""Quarantine's way back: what passes today enters bronze once, whatever is killed."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakehouse.audit.proof import Verdict
from lakehouse.core.errors import TableLocked
from lakehouse.core.lock import write_locks
from lakehouse.core.paths import Lake as Paths
from lakehouse.ingest.replay import finish
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA
from lakehouse.operations.maintain import maintain
from lakehouse.operations.quarantine import Choice, opened
from lakehouse.operations.replay_quarantine import dry_run
from lakehouse.storage.upkeep import forget_history
from tests.conftest import NOW, SALES, encode, long, sale
from tests.support.audited import Kafka, proof
from tests.support.lake import ALWAYS, Lake, left_alone
from tests.support.quarantined import (
    OLD,
    again,
    assert_proven,
    cured,
    events,
    killed,
    offsets,
    quarantined,
)


@pytest.fixture
def lake(quarantined_root, settings):
    return left_alone(quarantined_root, settings)


def test_what_passes_today_enters_once_and_silver_follows(lake):
    done = again(lake)
    assert (done.asked, done.entered, done.refused, done.duplicates) == (5, 4, 1, 2)
    assert offsets(lake, "bronze/sales") == [0, 1, 3, 4, 5, 6]
    assert quarantined(lake) == [2]
    rows = lake.rows("bronze/sales").sort_values("offset")
    assert list(rows["is_duplicate"]) == [False, False, False, True, False, True]
    assert list(rows["is_late"]) == [False, True, False, True, True, True]
    trail = lake.rows("quarantine/sales").sort_values("offset")
    assert list(trail["offset"]) == [1, 2, 4, 5, 6], "quarantine keeps the records"
    assert list(trail["replayed_version"].fillna(-1)) == [3, -1, 3, 3, 3]
    assert set(trail["replayed_at"].dropna()) == {NOW}
    found = assert_proven(lake)
    part = found.account.partitions[0]
    assert (part.bronze, part.quarantine) == (6, 1)
    second = again(lake)
    assert (second.entered, second.asked) == (0, 1)
    assert lake.bronze.bronze.version == 3, "nothing to enter is no commit"


def test_the_flow_goes_on_behind_a_replay(lake):
    before = lake.bronze.position.ends
    again(lake)
    assert lake.bronze.position.ends.next == before.next
    assert lake.bronze.position.ends.batch == before.batch + 1
    assert lake.bronze.bronze.last_note("replay")
    lake.land(encode(sale(event_id="old1"), sale(event_id="c")), 7)
    rows = lake.rows("bronze/sales").sort_values("offset")
    assert list(rows["is_duplicate"])[-2:] == [True, False]
    assert_proven(lake, end=9)


def test_a_copy_of_what_bronze_took_long_ago_is_a_copy(settings):
    """The event_id lies outside the horizon of bronze's newest record, and inside the record's."""
    lake = Lake(settings)
    lake.land(encode(sale(event_id="a"), sale(event_id="a", event_time=OLD)), 0)
    days = [NOW + timedelta(days=3)]
    later = sale(event_id="z", event_time="2026-11-22T00:00:00Z")
    lake.land(encode(later), 2, times=days)
    lake.silver.catch_up()
    again(lake)
    assert list(lake.rows("bronze/sales").sort_values("offset")["is_duplicate"]) == [
        False, True, False,
    ]  # fmt: skip
    assert_proven(lake, end=3)


@pytest.mark.parametrize("apart", [timedelta(minutes=59), timedelta(minutes=61)])
def test_copies_among_the_replayed_count_by_the_horizon(settings, apart):
    lake = Lake(settings)
    values = encode(*[sale(event_id="a", event_time=OLD, order_id=f"o{n}") for n in range(2)])
    lake.land(values, 0, times=[NOW + apart, NOW])
    lake.silver.catch_up()
    again(lake)
    rows = lake.rows("bronze/sales").sort_values("offset")
    assert list(rows["is_duplicate"]) == [apart < timedelta(hours=1), False]
    assert_proven(lake, end=2)


def test_a_future_event_lets_the_watermark_rise(settings):
    lake = Lake(settings)
    future = (NOW + timedelta(hours=1)).isoformat()
    lake.land(encode(sale(event_id="a"), sale(event_id="f", event_time=future)), 0)
    looser = settings.changed(sales={"future_tolerance": timedelta(hours=2)})
    again(lake, settings=looser)
    assert lake.bronze.position.ends.newest == NOW + timedelta(hours=1)
    lake.land(encode(sale(event_id="n", event_time=NOW.isoformat())), 2)
    assert list(lake.rows("bronze/sales").sort_values("offset")["is_late"]) == [False, False, True]
    assert_proven(lake, end=3)


def test_only_what_is_chosen_is_replayed(lake):
    assert again(lake, Choice(verdict="not utf-8")).entered == 0
    assert again(lake, Choice(verdict="IS BEFORE", addresses=((0, 5), (0, 2)))).entered == 1
    assert offsets(lake, "bronze/sales") == [0, 3, 5]
    assert again(lake, Choice(addresses=((0, 6),))).duplicates == 1
    assert_proven(lake)


def test_a_dry_run_writes_nothing(lake):
    before = [lake.bronze.bronze.version, lake.bronze.quarantine.version]
    found = dry_run("sales", cured(lake.settings), Choice())
    assert (found.asked, found.entered, found.refused) == (5, 4, 1)
    assert {(c["verdict_now"], c["records"]) for c in found.changes} == {
        ("passes", 4), ("the value is not UTF-8", 1),
    }  # fmt: skip
    lake.restart()
    assert [lake.bronze.bronze.version, lake.bronze.quarantine.version] == before
    assert dry_run("sales", lake.settings, Choice()).entered == 0


def test_what_a_crash_left_above_the_ends_waits_for_the_flow(lake):
    versions = lake.bronze.bronze.version
    lake.land(encode(sale(event_id="x", event_time=OLD), sale(event_id="y")), 7)
    log = Path(lake.bronze.bronze.uri, "_delta_log", f"{versions + 1:020}.json")
    log.unlink()  # quarantine committed, bronze did not
    lake.restart()
    done = again(lake)
    assert (done.entered, done.waiting) == (4, 1)
    lake.land(encode(sale(event_id="x", event_time=OLD), sale(event_id="y")), 7)
    assert quarantined(lake) == [2, 7]
    assert again(lake).entered == 1
    assert_proven(lake, end=9)


def test_a_lake_of_an_earlier_release_is_widened(lake):
    """Without the columns: read as it is, and given them by the next writer."""
    uri = lake.bronze.quarantine.uri
    rows = lake.bronze.quarantine.dt.to_pyarrow_table()
    names = [n for n in QUARANTINE_SCHEMA.names if not n.startswith("replayed")]
    write_deltalake(
        uri,
        rows.select(names).cast(pa.schema([QUARANTINE_SCHEMA.field(n) for n in names])),
        mode="overwrite",
        schema_mode="overwrite",
    )
    assert dry_run("sales", cured(lake.settings), Choice()).entered == 4
    assert proof(lake, Kafka(end=7)).verdict is Verdict.PROVEN
    lake.restart()
    assert {*DeltaTable(uri).schema().to_arrow().names} == {*QUARANTINE_SCHEMA.names}
    assert quarantined(lake) == [1, 2, 4, 5, 6], "no file has the columns yet"
    assert proof(lake, Kafka(end=7)).verdict is Verdict.PROVEN
    assert again(lake).entered == 4
    assert_proven(lake)


def test_retention_drops_what_was_replayed_too(lake):
    again(lake)
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    lake.settings = lake.settings.changed(maintenance=keep)
    lake.restart()
    lake.bronze.maintain(NOW + timedelta(hours=23))
    assert len(lake.rows("quarantine/sales")) == 5
    lake.bronze.maintain(NOW + timedelta(days=2))
    assert offsets(lake, "quarantine/sales") == [1, 4, 5, 6], "bronze can be restored to before"
    forget_history(lake.bronze.bronze, {})
    lake.restart()
    lake.bronze.maintain(NOW + timedelta(days=2))
    assert len(lake.rows("quarantine/sales")) == 0
    assert offsets(lake, "bronze/sales") == [0, 1, 3, 4, 5, 6]
    lake.restart()
    assert finish(lake.bronze, NOW) is None
    lake.ledger.persist()
    part = assert_proven(lake).account.partitions[0]
    assert (part.bronze, part.quarantine, part.erased) == (6, 0, 1), "the one that was not replayed"


def test_a_record_past_its_retention_is_not_a_lost_one(lake):
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    lake.settings = lake.settings.changed(maintenance=keep)
    lake.restart()
    later = NOW + timedelta(days=2)
    lake.bronze.maintain(later)
    assert len(lake.rows("quarantine/sales")) == 0
    assert offsets(lake, "erased/sales") == [1, 2, 4, 5, 6]
    assert set(lake.rows("erased/sales")["table"]) == {"quarantine.sales"}
    assert assert_proven(lake).account.partitions[0].erased == 5
    version = DeltaTable(f"{lake.settings.lake.root}/erased/sales").version()
    lake.bronze.maintain(later)
    assert DeltaTable(f"{lake.settings.lake.root}/erased/sales").version() == version
    lake.bronze.bronze.dt.restore(1)
    lake.restart()
    assert lake.bronze.position.ends.next == {0: 4}, "bronze goes back to its first batch"
    lake.land(events()[4:], 4)
    assert offsets(lake, "bronze/sales") == [0, 3]
    assert assert_proven(lake).account.partitions[0].erased == 5


def test_a_running_flow_is_named(lake):
    tables = ["bronze.sales", "quarantine.sales"]
    with (
        write_locks(Paths(lake.settings.lake.root).locks, tables, "sales.bronze", timedelta(0)),
        pytest.raises(TableLocked, match=r"written by sales\.bronze, process"),
    ):
        again(lake)


STEPS = ["before the marks", "marks written, not committed", "marks committed",
         "bronze's files written", "bronze committed"]  # fmt: skip


ENDS = [*zip(STEPS, ["flow", "replay", "flow", "replay", "flow"], strict=True)]
OTHER_ENDS = [*zip(STEPS, ["replay", "flow", "replay", "flow", "replay"], strict=True)]


@pytest.fixture(scope="module")
def roots(quarantined_root, tmp_path_factory):
    """Step → a lake in which a replay was killed with -9 there."""
    return killed(quarantined_root, tmp_path_factory.mktemp("killed"), STEPS)


@pytest.mark.parametrize(("step", "by"), [*ENDS, *long(*OTHER_ENDS)])
def test_a_replay_that_is_killed_is_completed(roots, settings, step, by):
    """By the next replay, or by the next start of the flow; and it is proven meanwhile."""
    lake = left_alone(roots[step], settings)
    cut = proof(lake, Kafka(end=7))
    assert cut.verdict is Verdict.PROVEN
    assert cut.account.partitions[0].bronze == (6 if step == "bronze committed" else 2)
    if by == "replay":
        assert_replay_completes(lake)
    else:
        entered = not step.endswith(("the marks", "not committed"))
        assert_flow_completes(Lake(cured(lake.settings)), entered=entered)


def test_retention_after_a_cut_replay_loses_no_address(roots, settings):
    lake = left_alone(roots["marks committed"], settings)
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    maintain(["quarantine.sales"], lake.settings.changed(maintenance=keep), NOW + timedelta(2))
    lake.restart()
    assert offsets(lake, "quarantine/sales") == [1, 4, 5, 6], "marked rows wait for the end"
    assert offsets(lake, "erased/sales") == [2]
    assert assert_proven(lake).account.partitions[0].erased == 1
    lake.settings = cured(lake.settings)
    lake.restart()
    assert finish(lake.bronze, NOW).rows == 4
    part = assert_proven(lake).account.partitions[0]
    assert (part.bronze, part.quarantine, part.erased) == (6, 0, 1)


def assert_replay_completes(lake):
    again(lake)
    assert offsets(lake, "bronze/sales") == [0, 1, 3, 4, 5, 6]
    assert quarantined(lake) == [2]
    assert_proven(lake)


def assert_flow_completes(lake, *, entered):
    finish(lake.bronze, NOW)
    lake.land(encode(sale(event_id="new")), 7)
    held = [0, 1, 3, 4, 5, 6, 7] if entered else [0, 3, 7]
    assert offsets(lake, "bronze/sales") == held
    assert_proven(lake, end=8)
    lake.restart()
    assert finish(lake.bronze, NOW) is None


def test_a_cut_replay_that_no_longer_passes_is_taken_back(roots, settings):
    lake = left_alone(roots["marks committed"], settings)
    done = finish(lake.bronze, NOW)
    assert (done.rows, done.refused) == (0, 4)
    assert quarantined(lake) == [1, 2, 4, 5, 6]
    assert_proven(lake)


def test_a_replay_in_many_parts_is_the_same(lake, monkeypatch):
    monkeypatch.setattr("lakehouse.operations.quarantine.CHUNK_BYTES", 1)
    done = again(lake)
    assert (done.entered, done.duplicates) == (4, 2)
    assert_proven(lake)


def test_the_contract_in_use_decides(lake):
    with opened("sales", cured(lake.settings)) as quarantine:
        assert quarantine.topic_id == "t1"
        assert quarantine.judge(Choice())["passes"].to_pylist().count(True) == 4
    assert SALES.version == 2
