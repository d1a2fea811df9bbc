"""A backup is whole or it is refused; a restored lake goes on."""

import json
import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lakehouse.core.errors import LakehouseError, TableDamaged, UsageError
from lakehouse.core.lock import write_locks
from lakehouse.operations import backup as module
from lakehouse.operations import restore as restoring
from lakehouse.operations.backup import backup
from lakehouse.operations.restore import restore
from tests.conftest import NOW
from tests.support.audited import Kafka
from tests.support.lake import left_alone
from tests.support.recovered import (
    VALUES,
    assert_proven,
    cut_half,
    entry,
    events,
    go_on,
    proof,
    restored,
    uri,
)


@pytest.fixture
def lake(recovered_root, settings):
    return left_alone(recovered_root, settings)


def test_a_backup_is_restored_and_goes_on(lake, tmp_path):
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    go_on(lake, upto=16, values=VALUES + events(12, 4))
    restored(lake, tmp_path)
    go_on(lake)
    assert_proven(lake)


def test_a_backup_taken_while_batches_land_is_whole(lake, tmp_path, monkeypatch):
    """Every table moves on between one pin and the next."""
    real, landed = module.opened, [12]

    def opened(path):
        table = real(path)
        if "partial" not in path:
            lake.land(events(landed[0], 1, bad={15}), landed[0])
            lake.fold()
            landed[0] += 1
        return table

    monkeypatch.setattr(module, "opened", opened)
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    monkeypatch.undo()
    restored(lake, tmp_path)
    values = VALUES + events(12, landed[0] - 12, bad={15})
    go_on(lake, upto=landed[0], values=values)
    found = proof(lake, Kafka(end=landed[0]))
    assert (found.faults, found.doubts) == ((), ())


def test_a_restore_is_refused_where_there_are_tables(lake, tmp_path, monkeypatch):
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    go_on(lake, upto=16, values=VALUES + events(12, 4))
    with pytest.raises(UsageError, match="--force"):
        restore(tmp_path / "b", lake.settings, lambda _: None, force=False)
    other = lake.settings.with_root(tmp_path / "other")

    def waited(*given, **named):
        """Its writer makes tables while it is waited for."""
        shutil.copytree(tmp_path / "b" / "bronze", tmp_path / "other" / "bronze")
        return write_locks(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(restoring, "write_locks", waited)
        with pytest.raises(UsageError, match="was waited for"):
            restore(tmp_path / "b", other, lambda _: None, force=False)
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"bronze", "_locks"}
    (tmp_path / "other" / "_restore").mkdir()
    with pytest.raises(TableDamaged, match="was cut short"):
        backup(other, tmp_path / "c", NOW, lambda _: None)
    restore(tmp_path / "b", lake.settings, lambda _: None, force=True)
    assert DeltaTable(uri(lake, "bronze.sales")).version() == 3
    aside = Path(lake.settings.lake.root) / "_aside" / "lake-1" / "bronze" / "sales"
    assert DeltaTable(aside).version() == 4
    go_on(lake)
    assert_proven(lake)


def test_models_are_in_a_backup_and_come_back(lake, tmp_path):
    """``promoted.json`` is copied before what it names; what is half written is not."""
    models = Path(lake.settings.lake.root) / "models" / "churn"
    for name in ("promoted.json", "v1/card.json", ".v2.part/card.json"):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_text(name)
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    other = lake.settings.with_root(tmp_path / "other")
    restore(tmp_path / "b", other, lambda _: None, force=False)
    back = tmp_path / "other" / "models" / "churn"
    files = {str(f.relative_to(back)): f.read_text() for f in back.rglob("*") if f.is_file()}
    assert files == {"promoted.json": "promoted.json", "v1/card.json": "v1/card.json"}
    (models / "v1" / "card.json").write_text("other")
    restore(tmp_path / "b", lake.settings, lambda _: None, force=True)
    assert (models / "v1" / "card.json").read_text() == "v1/card.json"
    aside = Path(lake.settings.lake.root) / "_aside" / "lake-1" / "models" / "churn"
    assert (aside / "v1" / "card.json").read_text() == "other"


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
    real, inner = module.copy_file, []

    def copy(path, to, name):
        if not inner:
            inner.append(True)
            backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
        return real(path, to, name)

    monkeypatch.setattr(module, "copy_file", copy)
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
