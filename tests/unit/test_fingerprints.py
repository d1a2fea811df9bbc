"""Fingerprints: true through all that we do to a table, false through all that others do."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from lakehouse.audit.fingerprints import check_fingerprint
from lakehouse.audit.pins import Snapshots, engine
from lakehouse.core.errors import TableDamaged
from lakehouse.operations.backup import backup
from lakehouse.operations.erase import erase
from lakehouse.operations.maintain import maintain
from lakehouse.operations.quarantine import Choice
from lakehouse.operations.rebuild import rebuild, silver_flow
from lakehouse.operations.repair import Repair
from lakehouse.operations.replay_quarantine import replay
from lakehouse.operations.restore import restore
from lakehouse.storage.metadata import NOTE
from tests.conftest import NOW, encode, sale, settings_at
from tests.earlier import without_fingerprints
from tests.support.lake import Lake
from tests.support.quarantined import cured, events

TABLES = ("bronze.sales", "quarantine.sales", "ledger.sales", "erased.sales")


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    """A lake of four fingerprinted tables: landed, replayed in part, one client erased."""
    settings = settings_at(tmp_path_factory.mktemp("landed") / "lake")
    lake = Lake(settings)
    lake.land(events(), 0)
    late = sale(event_id="late", event_time="2026-11-20T09:59:00Z", client_id="c9")
    lake.land(encode(late, sale(event_id="x", client_id="c8"), sale(event_id="y", quantity=-1)), 7)
    lake.ledger.persist()
    lake.silver.persist()
    replay("sales", cured(settings), Choice(addresses=((0, 5),)), NOW)
    erase("c8", "sales", settings, NOW)
    return settings.lake.root


@pytest.fixture
def root(landed, tmp_path):
    return Path(shutil.copytree(landed, tmp_path / "lake"))


def checked(root, name="bronze.sales"):
    settings = settings_at(Path(root))
    with engine(settings) as connection:
        snapshots = Snapshots(settings.lake.root, connection)
        version = int(snapshots.open(name).version())
        return check_fingerprint(snapshots, name, version)


def faults(root):
    return [found.fault for found in (checked(root, name) for name in TABLES) if found.fault]


def folder(root, name):
    return str(Path(root).joinpath(*name.split(".")))


def test_every_commit_of_ours_keeps_the_total_true(landed):
    for name in TABLES:
        found = checked(landed, name)
        assert (found.fault, found.doubt) == ("", "")
        assert found.since is not None


def test_compaction_vacuum_and_retention_keep_the_total_true(root):
    settings = settings_at(root).changed(maintenance={"quarantine_retention": timedelta(days=1)})
    maintain([], settings, NOW + timedelta(days=400))
    assert checked(root, "quarantine.sales").rows == 0
    assert faults(root) == []


def test_a_restored_backup_and_a_restored_version_keep_their_totals(root, tmp_path):
    settings = settings_at(root)
    lake = Lake(settings)
    before = checked(root)
    lake.land(encode(sale(event_id="z")), 10)
    backup(settings, tmp_path / "backup", NOW, lambda _: None)
    other = settings_at(tmp_path / "other")
    restore(tmp_path / "backup", other, lambda _: None, force=False)
    assert faults(other.lake.root) == []
    DeltaTable(folder(root, "bronze.sales")).restore(before.version)
    assert checked(root).rows == before.rows
    Lake(settings).land(encode(sale(event_id="z2")), 10)
    assert faults(root) == []


def test_a_table_of_an_earlier_release_begins_with_its_rows_as_they_are_found(root):
    for name in TABLES:
        without_fingerprints(folder(root, name))
        assert checked(root, name).since is None
    version, rows = checked(root).version, DeltaTable(folder(root, "bronze.sales")).count()
    Lake(settings_at(root)).land(encode(sale(event_id="new")), 10)
    found = checked(root)
    assert (found.fault, found.since, found.rows_before) == ("", version + 1, rows)
    write_deltalake(
        folder(root, "bronze.sales"), one_row(root), mode="append",
        commit_properties=CommitProperties({NOTE: "{}"}),
    )  # fmt: skip
    assert "1 rows" not in checked(root).fault
    assert checked(root).fault


def one_row(root, name="bronze.sales"):
    return pa.table(DeltaTable(folder(root, name)).to_pyarrow_table().slice(0, 1))


def hostile_update(root, name, change, where):
    DeltaTable(folder(root, name)).update(updates=change, predicate=where)


def test_a_changed_price_is_named_by_batch_file_and_commit(root):
    hostile_update(root, "bronze.sales", {"unit_price": "9.99"}, "event_id = 'y'")
    found = checked(root)
    assert "of other content" in found.fault
    assert found.batches == ("batches whose commits the log no longer has",)
    assert found.commits == (f"version {found.version} (UPDATE), another's",)
    assert all(Path(file).exists() for file in found.files)


def test_a_rebuild_refuses_a_bronze_that_was_changed(root):
    hostile_update(root, "bronze.sales", {"quantity": "7"}, "event_id = 'y'")
    with pytest.raises(TableDamaged, match="its rows are not those that its commits added"):
        rebuild(silver_flow("sales"), settings_at(root), lambda _: None)


def test_a_batch_whose_commit_is_in_the_log_is_named(root):
    lake = Lake(settings_at(root))
    batch = (
        lake.land(encode(sale(event_id="q1"), sale(event_id="q2")), 10)
        and lake.bronze.position.ends.batch
    )
    hostile_update(root, "bronze.sales", {"country": "'Chile'"}, "event_id = 'q2'")
    assert checked(root).batches == (f"batch {batch}",)


@pytest.mark.parametrize(
    ("name", "change", "where"),
    [
        ("bronze.sales", {"extra": "'{}'"}, "event_id = 'a'"),
        ("bronze.sales", {"watermark": "NULL"}, "event_id = 'late'"),
        ("bronze.sales", {"kafka_time": "kafka_time + interval '1 microsecond'"}, "event_id = 'a'"),
        ("quarantine.sales", {"value": "CAST('x' AS BYTEA)"}, '"offset" = 2'),
        ("quarantine.sales", {"headers": "NULL"}, '"offset" = 2'),
        ("quarantine.sales", {"replayed_version": "NULL"}, "replayed_version IS NOT NULL"),
        ("erased.sales", {"batch_id": "batch_id + 1"}, "true"),
        ("ledger.sales", {"late": "late + 1"}, "true"),
    ],
)
def test_any_other_change_is_found(root, name, change, where):
    hostile_update(root, name, change, where)
    assert len(faults(root)) == 1


def test_a_deleted_and_an_invented_row_are_found(root):
    row = one_row(root)
    path = folder(root, "bronze.sales")
    DeltaTable(path).delete("event_id = 'y'")
    assert "rows where its commits tell of" in checked(root).fault
    at = row.schema.get_field_index("offset")
    write_deltalake(path, row.set_column(at, "offset", pa.array([-1], pa.int64())), mode="append")
    assert "of other content" in checked(root).fault  # as many rows again
    assert len(checked(root).commits) == 2


def test_a_cut_page_and_a_lost_file_cannot_be_read_and_are_named(root):
    table = DeltaTable(folder(root, "bronze.sales"))
    file = Path(table.file_uris()[0])
    data = bytearray(file.read_bytes())
    data[4:200] = bytes(196)
    file.write_bytes(data)
    with engine(settings_at(root)) as connection:
        found = check_fingerprint(Snapshots(str(root), connection), "bronze.sales", table.version())
    assert str(file) in found.doubt


CELLS = {
    pa.string(): lambda r, v: (v or "") + r.choice("xyz "),
    pa.binary(): lambda r, v: (v or b"") + bytes([r.randrange(256)]),
    pa.int32(): lambda r, v: (v or 0) ^ 1 << r.randrange(20),
    pa.int64(): lambda r, v: (v or 0) ^ 1 << r.randrange(40),
    pa.bool_(): lambda r, v: not v,
    pa.timestamp("us", "UTC"): lambda r, v: (
        (v or NOW) + timedelta(microseconds=r.randrange(1, 9**9))
    ),
    pa.decimal128(18, 4): lambda r, v: v + Decimal(r.randrange(1, 9999)) / 10000,
}


def edited(rows, seed):
    """The rows with one cell changed."""
    r = random.Random(seed)
    names = [f.name for f in rows.schema if f.type in CELLS]
    name, row = r.choice(names), r.randrange(rows.num_rows)
    cells = rows[name].to_pylist()
    cells[row] = CELLS[rows.schema.field(name).type](r, cells[row])
    column = pa.array(cells, rows.schema.field(name).type)
    return rows.set_column(rows.schema.get_field_index(name), name, column)


@pytest.mark.parametrize("seed", range(60))
def test_one_cell_anywhere_is_found(landed, seed):
    name = TABLES[seed % 4]
    table = DeltaTable(folder(landed, name))
    file = Path(random.Random(seed).choice(table.file_uris()))
    before = file.read_bytes()
    rows = pq.ParquetFile(file).read()
    schema = pa.schema(table.schema().to_arrow())
    rows = rows.cast(pa.schema([schema.field(column) for column in rows.schema.names]))
    pq.write_table(edited(rows, seed), file)
    try:
        with engine(settings_at(Path(landed))) as connection:
            found = check_fingerprint(Snapshots(landed, connection), name, table.version())
        assert found.fault
    finally:
        file.write_bytes(before)


def lose_a_file(root, name):
    file = Path(DeltaTable(folder(root, name)).file_uris()[0])
    file.unlink()


def mend(root, name):
    return Repair(name, settings_at(root), lambda: None, lambda _: None).run()


def test_fingerprints_begin_again_with_what_a_repair_left(root):
    lake = Lake(settings_at(root))
    lake.land([b"{"], 10)
    lake.land([b"["], 11)
    lose_a_file(root, "quarantine.sales")
    mend(root, "quarantine.sales")
    found = checked(root, "quarantine.sales")
    assert (found.fault, found.since, found.rows_before) == ("", found.version, found.rows)


def test_a_repair_hides_no_edit(root):
    lake = Lake(settings_at(root))
    lake.land([b"{"], 10)
    lake.land([b"["], 11)
    hostile_update(root, "quarantine.sales", {"verdict": "'x'"}, '"offset" = 10')
    files = DeltaTable(folder(root, "quarantine.sales")).get_add_actions(flatten=True)
    lowest = dict(
        zip(
            pa.table(files)["min.offset"].to_pylist(),
            pa.table(files)["path"].to_pylist(),
            strict=True,
        )
    )
    Path(folder(root, "quarantine.sales"), lowest[11]).unlink()
    with pytest.raises(TableDamaged, match=r"batch .* are not those that its commits added"):
        mend(root, "quarantine.sales")
