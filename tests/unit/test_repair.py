"""Files that are cut, broken or gone: found by all, told alike, repaired from Kafka."""

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.core.errors import TableDamaged, UsageError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.operations.rebuild import rebuild
from tests.conftest import SALES, encode, long, sale
from tests.support.lake import SILVER, left_alone
from tests.support.recovered import (
    DAMAGES,
    assert_proven,
    cut_half,
    entry,
    events,
    go_on,
    repair,
    topic,
    uri,
)


@pytest.fixture
def lake(recovered_root, settings):
    return left_alone(recovered_root, settings)


def found_by_all(lake, name):
    """Writer, explorer and audit each say place, fault and remedy, and the same one."""
    root, said = lake.settings.lake.root, []
    with pytest.raises(TableDamaged) as by_writer:
        lake.start()
    said.append(by_writer.value)
    with pytest.raises(TableDamaged) as by_explorer:
        Catalogue(root).open(name)
    said.append(by_explorer.value)
    with engine(lake.settings) as connection, pytest.raises(TableDamaged) as by_audit:
        Snapshots(root, connection).open(name)
    said.append(by_audit.value)
    assert {error.place for error in said} == {f"table {name}"}
    verb = "rebuild" if name.startswith("silver") else "repair"
    assert all(e.remedy == f"lakehouse {verb} {name} --root {root}" for e in said), said
    return said[0]


@pytest.mark.parametrize(
    ("name", "damage"),
    [*(("bronze.sales", damage) for damage in DAMAGES), ("quarantine.sales", "empty")],
)
def test_a_damaged_last_commit_is_found_and_repaired(lake, name, damage):
    DAMAGES[damage](entry(lake, name, 3))
    error = found_by_all(lake, name)
    assert "the newest commit is cut" in error.fault
    assert len(repair(lake, name)) == 1
    assert repair(lake, name) == []
    go_on(lake)
    assert_proven(lake)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("bronze.sales", "empty"),
        ("bronze.sales", "garbage"),
        ("bronze.sales", "cut at a line"),
        ("quarantine.sales", "empty"),
    ],
)
def test_a_damaged_commit_in_the_middle_goes_back_where_kafka_has_the_rest(lake, name, damage):
    DAMAGES[damage](entry(lake, name, 2))
    found_by_all(lake, name)
    if name == "bronze.sales":
        with pytest.raises(TableDamaged, match="Kafka lacks\n  partition 0: expired: offsets 4"):
            repair(lake, name, at=topic(first=6))
    repair(lake, name)
    go_on(lake)
    assert_proven(lake)


def test_a_commit_that_is_missing_is_found(lake):
    entry(lake, "bronze.sales", 2).unlink()
    assert "of 3 commits one is missing" in found_by_all(lake, "bronze.sales").fault
    repair(lake, "bronze.sales")
    go_on(lake)
    assert_proven(lake)


def test_the_first_commit_missing_is_beyond_repair(lake):
    entry(lake, "bronze.sales", 0).unlink()
    found_by_all(lake, "bronze.sales")
    with pytest.raises(TableDamaged, match="lakehouse restore"):
        repair(lake, "bronze.sales")
    assert entry(lake, "bronze.sales", 3).exists()


def test_a_log_that_is_gone_is_not_taken_for_a_new_table(lake):
    shutil.rmtree(uri(lake, "bronze.sales") / "_delta_log")
    with pytest.raises(TableDamaged, match="data files and no log"):
        lake.restart()
    with pytest.raises(TableDamaged, match="lakehouse restore"):
        repair(lake, "bronze.sales")


@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "hint"])
def test_a_broken_checkpoint_of_the_log_is_set_aside(lake, damage):
    DeltaTable(uri(lake, "bronze.sales")).create_checkpoint()
    lake.land(events(12, 1), 12)
    log = uri(lake, "bronze.sales") / "_delta_log"
    checkpoint = next(log.glob("*.checkpoint.parquet"))
    if damage == "gone":
        checkpoint.unlink()
    elif damage == "hint":
        (log / "_last_checkpoint").write_text('{"version": 2, "size": 5}')
    else:
        DAMAGES[damage](checkpoint)
    found_by_all(lake, "bronze.sales")
    repair(lake, "bronze.sales")
    lake.restart()
    assert lake.bronze.position.ends.next == {0: 13}
    assert len(lake.rows("bronze/sales")) == 10


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_hint_that_nobody_can_read_is_passed_over(lake, text):
    DeltaTable(uri(lake, "bronze.sales")).create_checkpoint()
    (uri(lake, "bronze.sales") / "_delta_log" / "_last_checkpoint").write_text(text)
    go_on(lake)
    assert_proven(lake)


def test_a_broken_checkpoint_without_the_entries_before_it_needs_all_of_kafka(lake):
    DeltaTable(uri(lake, "bronze.sales")).create_checkpoint()
    log = uri(lake, "bronze.sales") / "_delta_log"
    cut_half(next(log.glob("*.checkpoint.parquet")))
    entry(lake, "bronze.sales", 1).unlink()
    with pytest.raises(TableDamaged, match="lakehouse restore"):
        repair(lake, "bronze.sales", at=topic(first=3))
    repair(lake, "bronze.sales")
    go_on(lake)
    assert_proven(lake)


@pytest.mark.parametrize(
    ("number", "name", "damage"),
    [
        (0, "bronze.sales", "gone"),
        (2, "bronze.sales", "cut"),
        (0, "quarantine.sales", "cut"),
        (2, "quarantine.sales", "gone"),
        *long(
            (0, "bronze.sales", "cut"),
            (2, "bronze.sales", "gone"),
            (0, "quarantine.sales", "gone"),
            (2, "quarantine.sales", "cut"),
        ),
    ],
)
def test_a_data_file_that_is_not_whole_is_found_and_read_again(lake, name, number, damage):
    file = Path(sorted(DeltaTable(uri(lake, name)).file_uris())[number])
    file.unlink() if damage == "gone" else cut_half(file)
    found_by_all(lake, name)
    repair(lake, name)
    go_on(lake)
    assert_proven(lake)


def test_a_lost_data_file_of_bronze_that_kafka_no_longer_has(lake):
    files = DeltaTable(uri(lake, "bronze.sales")).get_add_actions(flatten=True)
    first = min(zip(files["min.offset"].to_pylist(), files["path"].to_pylist(), strict=True))[1]
    (uri(lake, "bronze.sales") / first).unlink()
    with pytest.raises(TableDamaged, match="lakehouse restore"):
        repair(lake, "bronze.sales", at=topic(first=3))


@pytest.mark.parametrize("damage", ["commit", "file"])
def test_a_damaged_ledger_is_rebuilt(lake, damage):
    lake.land(encode(sale(event_id="e0"), sale(event_id="e1")), 12)
    lake.restart()
    if damage == "commit":
        sorted((uri(lake, "ledger.sales") / "_delta_log").glob("*.json"))[-1].write_bytes(b"")
    else:
        Path(DeltaTable(uri(lake, "ledger.sales")).file_uris()[0]).unlink()
    assert len(repair(lake, "ledger.sales")) == 1
    assert repair(lake, "bronze.sales") == []
    lake.restart()
    assert list(lake.rows("ledger/sales")["duplicates"]) == [2]


def test_the_ledger_is_rebuilt_when_bronze_went_back_and_wrote_on(lake, tmp_path):
    shutil.copytree(uri(lake, "bronze.sales"), tmp_path / "kept")
    lake.land(encode(sale(event_id="e0"), sale(event_id="e1")), 12)
    lake.restart()
    assert list(lake.rows("ledger/sales")["duplicates"]) == [2]
    shutil.rmtree(uri(lake, "bronze.sales"))
    shutil.copytree(tmp_path / "kept", uri(lake, "bronze.sales"))
    verb = BronzePublisher.open(SALES, lake.settings, None, lake.connection)
    verb.position.accept(topic(13, 20))
    lake.restart(topic_id=None)
    assert lake.rows("ledger/sales").empty


def test_silver_is_not_repaired_but_rebuilt(lake):
    entry(lake, "silver.sales_by_country", 2).write_bytes(b"")
    error = found_by_all(lake, "silver.sales_by_country")
    with pytest.raises(UsageError, match="is not repaired"):
        repair(lake, "silver.sales_by_country")
    assert "rebuild" in error.remedy
    rebuild(SILVER, lake.settings, lambda _: None)
    go_on(lake)
    assert_proven(lake)
