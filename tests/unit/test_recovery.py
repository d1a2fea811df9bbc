"""Tables that went back, were cut or lost files: found, told, mended; nothing lost or doubled."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.audit.proof import Verdict
from lakehouse.audit.run import audit
from lakehouse.core.errors import LakehouseError, TableDamaged, UsageError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.ingest.ends import EXPIRED, MADE_ANEW, ROLLED_BACK
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.replay import finish
from lakehouse.ingest.topic import Topic
from lakehouse.operations import backup as module
from lakehouse.operations.backup import backup, restore
from lakehouse.operations.erase import erase
from lakehouse.operations.quarantine import Choice
from lakehouse.operations.rebuild import rebuild
from lakehouse.operations.repair import Repair
from lakehouse.operations.replay import replay
from tests.conftest import NOW, SALES, encode, sale, settings_at
from tests.unit.test_audit import Kafka
from tests.unit.test_publish import (
    SILVER,
    Lake,
    assert_silver_is_a_function_of_bronze,
    copied,
)
from tests.unit.test_quarantine import cured


def events(first, count, *, bad=()):
    """Values for offsets from ``first``; those in ``bad`` break the contract."""
    return [
        b"{" if n in bad else encode(sale(event_id=f"e{n}", order_id=f"o{n}"))[0]
        for n in range(first, first + count)
    ]


VALUES = events(0, 12, bad={2, 5, 9})
GOOD = [0, 1, 3, 4, 6, 7, 8, 10, 11]
"""Offsets that bronze holds of them."""
BATCHES = ((0, 4), (4, 8), (8, 12))


def topic(first=0, after=12, id_="t1"):
    return Topic("sales", id_, {0: (first, after)})


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    """The root of a lake where all batches have landed, with silver."""
    lake = Lake(settings_at(tmp_path_factory.mktemp("landed") / "lake"))
    for first, after in BATCHES:
        lake.land(VALUES[first:after], first)
        lake.silver.catch_up()
    lake.silver.persist()
    return lake.settings.lake.root


@pytest.fixture
def lake(landed, settings):
    return copied(landed, settings)


def uri(lake, name):
    return Path(lake.settings.lake.root).absolute().joinpath(*name.split("."))


def entry(lake, name, version):
    return uri(lake, name) / "_delta_log" / f"{version:020}.json"


def go_on(lake, *, upto=12, values=VALUES, id_="t1", first=0):
    """A start of the flow: open anew, meet the topic, land what Kafka has from the ends."""
    lake.restart(topic_id=None)
    lake.bronze.position.refuse(lake.bronze.position.meet(topic(first, upto, id_)))
    start = lake.bronze.position.ends.next.get(0, 0)
    if start < upto:
        lake.land(values[start:upto], start)
    lake.silver.catch_up()
    lake.silver.persist()
    lake.ledger.persist()


def proof(lake, kafka=None):
    broker = (kafka or Kafka(end=12)).broker()
    return audit("sales", lake.settings, broker, NOW, lambda _: None)


def assert_proven(lake, kafka=None):
    found = proof(lake, kafka)
    assert (found.faults, found.doubts) == ((), ())
    assert sorted(lake.rows("bronze/sales")["offset"]) == GOOD
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [2, 5, 9]
    assert_silver_is_a_function_of_bronze(lake)


def repair(lake, name, at=None):
    return Repair(name, lake.settings, lambda: at or topic(), lambda _: None).run()


# A table that was restored to an older version


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("name", ["bronze.sales", "quarantine.sales", "silver.sales_by_country"])
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


@pytest.mark.parametrize("name", ["bronze", "quarantine", "silver"])
@pytest.mark.parametrize("writes_on", [False, True])
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
        lake.bronze.position.meet(topic(after=16))
        start = lake.bronze.position.ends.next[0]
        for offset in range(start, 16):
            lake.land((VALUES + later)[offset : offset + 1], offset)
    go_on(lake, upto=16, values=VALUES + later)
    found = proof(lake, Kafka(end=16))
    assert (found.faults, found.doubts) == ((), ())
    assert found.account.total("bronze") + found.account.total("quarantine") == 16
    assert_silver_is_a_function_of_bronze(lake)


def test_quarantine_removed_is_read_again(lake):
    shutil.rmtree(uri(lake, "quarantine.sales"))
    go_on(lake)
    assert_proven(lake)


def test_bronze_removed_is_read_again(lake):
    shutil.rmtree(uri(lake, "bronze.sales"))
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


def test_a_topic_made_anew_is_refused_and_then_goes_on(lake):
    anew = events(100, 7, bad={102})
    with pytest.raises(TableDamaged, match="topic made anew: what it held from offset 12 on"):
        go_on(lake, upto=7, id_="t2", values=anew)
    lake.restart(topic_id=None)
    assert [gap.kind for gap in lake.bronze.position.accept(topic(0, 7, "t2"))] == [MADE_ANEW]
    go_on(lake, upto=7, id_="t2", values=anew)
    lake.restart(topic_id="t2")
    anew = [0, 1, 3, 4, 5, 6]
    assert sorted(lake.rows("bronze/sales")["offset"]) == sorted([*GOOD, *anew])
    assert sorted(lake.rows("quarantine/sales")["offset"]) == [2, 2, 5, 9]
    found = proof(lake, Kafka(end=7, topic_id="t2"))
    assert (found.faults, found.doubts) == ((), ())
    assert (found.account.total("bronze"), found.account.former) == (6, 12)
    assert found.account.lost[0]["why"] == MADE_ANEW
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


def test_a_topic_made_anew_twice_and_expired_from_its_start(lake):
    for id_, first in (("t2", 3), ("t3", 0)):
        lake.restart(topic_id=None)
        lake.bronze.position.accept(topic(first, 9, id_))
        go_on(lake, upto=9, first=first, id_=id_, values=events(ord(id_[1]) * 100, 9))
    kinds = [gap.kind for gap in lake.bronze.position.ends.lost]
    assert kinds == [MADE_ANEW, EXPIRED, MADE_ANEW]
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
    product = lake.settings.products["sales"].model_copy(update={"topic": "other"})
    lake.settings = lake.settings.model_copy(update={"products": {"sales": product}})
    with pytest.raises(TableDamaged, match=r"set \[sales\] topic = sales"):
        lake.restart()


# Files that are damaged


def cut_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_at_line(path):
    """What is left says what the commit is, and adds nothing."""
    path.write_bytes(path.read_bytes().splitlines()[0])


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut_half,
    "cut at a line": cut_at_line,
    "garbage": lambda path: path.write_bytes(b"\x00\xff garbage"),
    "not an object": lambda path: path.write_bytes(b"[1]"),
}


def found_by_all(lake, name):
    """Writer, explorer and audit each say place, fault and remedy, and the same one."""
    root, said = lake.settings.lake.root, []
    with pytest.raises(TableDamaged) as by_writer:
        lake.restart()
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


@pytest.mark.parametrize("damage", ["gone", "cut"])
@pytest.mark.parametrize("name", ["bronze.sales", "quarantine.sales"])
@pytest.mark.parametrize("number", [0, 2])
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
def test_a_damaged_ledger_is_made_anew(lake, damage):
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


def test_the_ledger_is_made_anew_when_bronze_went_back_and_wrote_on(lake, tmp_path):
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


# Silver made anew


def test_a_rebuild_names_what_differed_and_mends_it(lake):
    before = DeltaTable(uri(lake, "silver.sales_by_client")).version()
    DeltaTable(uri(lake, "silver.sales_by_country")).update({"lines": "7"})
    DeltaTable(uri(lake, "silver.sales_orders")).delete("order_id = 'o4'")
    assert proof(lake).verdict is Verdict.NOT_PROVEN
    said = []
    found = {table.table: table for table in rebuild(SILVER, lake.settings, said.append)}
    country = found["silver.sales_by_country"]
    assert country.differing == 1
    assert [(row["column"], row["held"]) for row in country.first] == [("lines", 7)]
    assert found["silver.sales_orders"].differing == 1
    assert found["silver.sales_by_client"].differing == 0
    assert any("9 of 9 rows" in line for line in said)
    assert DeltaTable(uri(lake, "silver.sales_by_client")).version() == before + 1
    go_on(lake)
    assert_proven(lake)
    assert not (Path(lake.settings.lake.root) / "_rebuild" / "sales").exists()


def test_a_rebuild_in_parts_is_the_same(lake):
    silver = lake.settings.silver.model_copy(update={"max_rows_per_fold": 2})
    lake.settings = lake.settings.model_copy(update={"silver": silver})
    found = rebuild(SILVER, lake.settings, lambda _: None)
    assert {table.differing for table in found} == {0}
    go_on(lake)
    assert_proven(lake)


def test_a_rebuild_of_silver_that_is_behind_or_gone(lake):
    shutil.rmtree(uri(lake, "silver.sales_by_segment"))
    rebuild(SILVER, lake.settings, lambda _: None)
    go_on(lake)
    assert_proven(lake)


# Backups


def test_a_backup_is_restored_and_goes_on(lake, tmp_path):
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    go_on(lake, upto=16, values=VALUES + events(12, 4))
    other = lake.settings.with_root(tmp_path / "other")
    restore(tmp_path / "b", other, lambda _: None, force=False)
    lake.settings = other
    go_on(lake)
    assert_proven(lake)


def test_a_backup_taken_while_batches_land_is_whole(lake, tmp_path, monkeypatch):
    """Every table moves on between one pin and the next."""
    real, landed = module.opened, [12]

    def opened(path):
        table = real(path)
        if "partial" not in path:
            lake.land(events(landed[0], 1, bad={15}), landed[0])
            lake.silver.catch_up()
            lake.silver.persist()
            landed[0] += 1
        return table

    monkeypatch.setattr(module, "opened", opened)
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    monkeypatch.undo()
    other = lake.settings.with_root(tmp_path / "other")
    restore(tmp_path / "b", other, lambda _: None, force=False)
    lake.settings = other
    values = VALUES + events(12, landed[0] - 12, bad={15})
    go_on(lake, upto=landed[0], values=values)
    found = proof(lake, Kafka(end=landed[0]))
    assert (found.faults, found.doubts) == ((), ())


def test_a_restore_is_refused_where_there_are_tables(lake, tmp_path):
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    go_on(lake, upto=16, values=VALUES + events(12, 4))
    with pytest.raises(UsageError, match="--force"):
        restore(tmp_path / "b", lake.settings, lambda _: None, force=False)
    restore(tmp_path / "b", lake.settings, lambda _: None, force=True)
    assert DeltaTable(uri(lake, "bronze.sales")).version() == 3
    aside = Path(lake.settings.lake.root) / "_aside" / "lake-1" / "bronze" / "sales"
    assert DeltaTable(aside).version() == 4
    go_on(lake)
    assert_proven(lake)


@pytest.mark.parametrize("damage", ["flip", "gone", "cut", "manifest", "outside"])
def test_a_backup_that_is_not_whole_leaves_the_lake_alone(lake, tmp_path, damage):
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    manifest = tmp_path / "b" / "manifest.json"
    file = next((tmp_path / "b" / "bronze").rglob("*.parquet"))
    if damage == "flip":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    if damage == "gone":
        file.unlink()
    if damage == "cut":
        cut_half(file)
    if damage == "manifest":
        cut_half(manifest)
    if damage == "outside":
        told = json.loads(manifest.read_text())
        told["files"]["../outside"] = {"bytes": 0, "sha256": ""}
        manifest.write_text(json.dumps(told))
    with pytest.raises(LakehouseError, match="name the folder of a backup that is whole"):
        restore(tmp_path / "b", lake.settings, lambda _: None, force=True)
    assert not (tmp_path / "outside").exists()
    go_on(lake)
    assert_proven(lake)


def test_a_backup_into_a_full_folder_or_the_lake_is_refused(lake, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for to in (tmp_path / "full", Path(lake.settings.lake.root) / "b"):
        with pytest.raises(UsageError):
            backup(lake.settings, to, NOW, lambda _: None)


def test_two_backups_to_one_place_do_not_mix(lake, tmp_path, monkeypatch):
    real, inner = module._copy, []

    def copy(path, to, name):
        if not inner:
            inner.append(True)
            backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
        return real(path, to, name)

    monkeypatch.setattr(module, "_copy", copy)
    with pytest.raises(OSError, match="not empty"):
        backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    monkeypatch.undo()
    other = lake.settings.with_root(tmp_path / "other")
    restore(tmp_path / "b", other, lambda _: None, force=False)


def test_a_damaged_table_is_not_backed_up(lake, tmp_path):
    entry(lake, "bronze.sales", 3).write_bytes(b"")
    with pytest.raises(TableDamaged, match="lakehouse repair"):
        backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    assert not (tmp_path / "b").exists()


# A replay, and tables that went back after it


def curable(first, count):
    """Records that broke the contract and pass once [sales] earliest is earlier."""
    times = {"event_time": "1999-06-01T10:00:00Z"}
    numbers = range(first, first + count)
    return encode(*[sale(event_id=f"old{n}", order_id=f"p{n}", **times) for n in numbers])


@pytest.fixture
def replayed(lake):
    """Offsets 12 and 13 were quarantined, and then replayed into bronze."""
    lake.land(curable(12, 2), 12)
    lake.silver.catch_up()
    lake.silver.persist()
    lake.settings = cured(lake.settings)
    assert replay("sales", lake.settings, Choice(), NOW).entered == 2
    return lake


def go_on_replayed(lake, values=None):
    """As :func:`go_on`, and the marks are brought level, as the flow does at its start."""
    values = values or VALUES + [b"{"] * 2
    lake.restart(topic_id=None)
    finish(lake.bronze, NOW)
    lake.bronze.position.refuse(lake.bronze.position.meet(topic(after=14)))
    start = lake.bronze.position.ends.next.get(0, 0)
    if start < 14:
        lake.land(values[start:14], start)
    lake.silver.catch_up()
    lake.silver.persist()


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
    lake.silver.catch_up()
    lake.silver.persist()
    lake.settings = cured(lake.settings)
    assert replay("sales", lake.settings, Choice(), NOW).entered == 1
    lake.restart(topic_id="t2")
    lake.silver.catch_up()
    lake.silver.persist()
    marks = lake.rows("quarantine/sales").sort_values("batch_id")
    assert list(marks["offset"][marks["replayed_version"].notna()]) == [12]
    assert marks["batch_id"][marks["replayed_version"].notna()].iloc[0] == marks["batch_id"].max()
    found = proof(lake, Kafka(end=14, topic_id="t2"))
    assert (found.faults, found.doubts) == ((), ())
    assert (found.account.total("bronze"), found.account.former) == (14, 13)


# An erasure, and tables that went back or a topic that was made anew after it


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
