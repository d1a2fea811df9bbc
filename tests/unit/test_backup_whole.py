"""What a backup copies fits together, and is a table, whatever flows do meanwhile."""

from datetime import timedelta

import pytest
from deltalake import DeltaTable

from lakehouse.core.errors import TableDamaged
from lakehouse.ingest.erased import ErasedLedger
from lakehouse.operations import backup as module
from lakehouse.operations.backup import backup
from lakehouse.operations.maintain import maintain
from tests.conftest import NOW
from tests.support.audited import Kafka
from tests.support.lake import ALWAYS, copied
from tests.support.logs import shorten
from tests.support.recovered import assert_proven, events, proof, restored


@pytest.fixture
def lake(recovered_root, settings):
    return copied(recovered_root, settings)


def test_a_log_that_is_shortened_while_tables_are_copied_is_in_the_backup(lake, tmp_path):
    done = []

    def say(_):
        if not done:
            done.append(True)
            lake.land(events(12, 1), 12)
            shorten(lake.bronze.bronze.uri)
            shorten(lake.bronze.quarantine.uri)

    backup(lake.settings, tmp_path / "b", NOW, say)
    assert DeltaTable(tmp_path / "b" / "bronze" / "sales").version() == 3
    assert_proven(restored(lake, tmp_path))


def test_a_log_that_is_shortened_while_it_is_copied_is_copied_again(lake, tmp_path, monkeypatch):
    real, done = module.copy_file, []

    def copy(path, to, name):
        if name == "bronze.sales" and not done:
            done.append(True)
            shorten(lake.bronze.bronze.uri)
        return real(path, to, name)

    monkeypatch.setattr(module, "copy_file", copy)
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    assert done
    assert_proven(restored(lake, tmp_path))


def test_a_copy_that_is_not_the_table_is_no_backup(lake, tmp_path, monkeypatch):
    """The disk gives back something else than was written."""
    real = module.copy_file

    def copy(file, to, name):
        size = real(file, to, name)
        if name == "bronze.sales" and file.path.suffix == ".parquet":
            to.path.write_bytes(to.path.read_bytes()[:-7])
        return size

    monkeypatch.setattr(module, "copy_file", copy)
    with pytest.raises(TableDamaged, match="its copy is not whole"):
        backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    assert not (tmp_path / "b").exists()


def test_what_retention_drops_between_two_pins_is_in_the_ledger(lake, tmp_path, monkeypatch):
    ErasedLedger("sales", lake.settings, lake.connection)
    keep = {"quarantine_retention": timedelta(days=1), "vacuum_interval": ALWAYS}
    strict, real, done = lake.settings.changed(maintenance=keep), module.opened, []

    def opened(path):
        table = real(path)
        if path.endswith(("erased/sales", "quarantine/sales")) and not done:
            done.append(True)
            maintain(["quarantine.sales"], strict, NOW + timedelta(days=2))
        return table

    monkeypatch.setattr(module, "opened", opened)
    backup(lake.settings, tmp_path / "b", NOW, lambda _: None)
    monkeypatch.undo()
    found = proof(restored(lake, tmp_path), Kafka(end=12))
    assert found.faults == ()
    assert found.account.total("missing") == 0
